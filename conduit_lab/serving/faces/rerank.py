"""Rerank: `/v1/rerank`, the API of Cohere and Jina, with the app's rerankers."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.routing import Route

from conduit_lab.core.spec import FloatArray
from conduit_lab.models.text.reranker import Reranker
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.exchange import Exchange, protocol_route
from conduit_lab.serving.faces.language.request_fields import FieldError, RequestFields
from conduit_lab.serving.faces.language.served_models import (
    models_of,
    named_model,
    truncation_headers,
)
from conduit_lab.serving.faces.openai.openai_errors import openai_error_body

MAX_DOCUMENTS = 1_000
_MAX_QUERY_CHARACTERS = 100_000


def routes(app: EndpointHost) -> list[Route]:
    """Return the protocol's route."""
    return [protocol_route(app, "rerank", "/v1/rerank", rerank, error_body=openai_error_body)]


async def rerank(exchange: Exchange) -> None:
    """Answer POST /v1/rerank: rank documents by relevance to the query, from 0 to 1."""
    fields = RequestFields(await exchange.json())
    rerankers = models_of(exchange.app, Reranker)
    if not fields.has("model") and len(rerankers) == 1:
        [model] = rerankers.values()
    else:
        model = _model(rerankers, fields)
    query = fields.text("query")
    if not 0 < len(query) <= _MAX_QUERY_CHARACTERS:
        raise FieldError(
            "query", f"query expects 1 to {_MAX_QUERY_CHARACTERS} characters, got {len(query)}"
        )
    texts = [_text(each, place) for place, each in enumerate(_documents(fields))]
    top_n = fields.integer("top_n", 1, 2**31, len(texts))
    shows_documents = fields.flag("return_documents")
    scores, truncated = await exchange.run(_score, model, query, texts, of=model.name)
    relevance = 1 / (1 + np.exp(-scores.astype(np.float64)))
    order = np.argsort(-scores, kind="stable")[:top_n]
    results: list[dict[str, Any]] = [
        {"index": int(place), "relevance_score": float(relevance[place])} for place in order
    ]
    if shows_documents:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    answer = {"id": exchange.context.id, "model": model.name, "results": results}
    await exchange.send(answer, headers=truncation_headers(truncated))


def _score(model: Reranker, query: str, texts: list[str]) -> tuple[FloatArray, int]:
    return model.score(query, texts), model.count_truncated(query, texts)


def _model(rerankers: dict[str, Reranker], fields: RequestFields) -> Reranker:
    if not rerankers:
        raise HttpError(404, "model_not_found", "this server has no reranker")
    return named_model(rerankers, fields.text("model"), "reranker")


def _documents(fields: RequestFields) -> list[Any]:
    found = fields.items("documents", MAX_DOCUMENTS, required=True)
    if not found:
        raise FieldError("documents", "documents expects at least one, got none")
    return found


def _text(document: Any, place: int) -> str:
    if isinstance(document, str):
        return document
    return RequestFields(document, f"documents[{place}]").text("text")
