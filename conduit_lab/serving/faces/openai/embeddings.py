"""`/v1/embeddings`: one vector per text."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.serving.faces.exchange import Exchange
from conduit_lab.serving.faces.language.request_fields import FieldError, RequestFields
from conduit_lab.serving.faces.language.served_models import (
    models_of,
    named_model,
    truncation_headers,
)

MAX_INPUTS = 2048  # OpenAI's
_MAX_DIMENSIONS = 1_000_000


async def create_embeddings(exchange: Exchange) -> None:
    """Answer POST /v1/embeddings.

    `dimensions` keeps the first components of each vector, normalized to unit length. Texts longer
    than the model's maximum are truncated, and counted in the header x-conduit-truncated.
    """
    fields = RequestFields(await exchange.json())
    embedder = named_model(models_of(exchange.app, Embedder), fields.text("model"), "embedder")
    texts = _texts(fields.value("input"))
    encoding = fields.one_of("encoding_format", ("float", "base64"), "float")
    given = fields.integer("dimensions", 1, _MAX_DIMENSIONS) if fields.has("dimensions") else None
    vectors, tokens, truncated = await exchange.run(
        _embed, embedder, texts, given, of=embedder.name
    )
    exchange.context.count_tokens(tokens, 0)
    data = [
        {"object": "embedding", "index": place, "embedding": _encoded(vector, encoding)}
        for place, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"object": "list", "data": data, "model": embedder.name, "usage": usage}
    await exchange.send(answer, headers=truncation_headers(truncated))


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise FieldError("input", "input expects a string or a list of strings, not token ids")
    if not 0 < len(texts) <= MAX_INPUTS:
        raise FieldError("input", f"input expects 1 to {MAX_INPUTS} strings, got {len(texts)}")
    if "" in texts:
        raise FieldError("input", f"input[{texts.index('')}] is an empty string")
    return texts


def _embed(
    embedder: Embedder, texts: list[str], dimensions: int | None
) -> tuple[FloatArray, int, int]:
    """Return the vectors, the number of tokens read, and the number of truncated texts."""
    if dimensions is not None and dimensions > embedder.dimension:
        raise FieldError(
            "dimensions",
            f"dimensions of {embedder.name!r} expects 1 to {embedder.dimension}, got {dimensions}",
        )
    vectors: FloatArray = embedder.encode(texts)
    if dimensions is not None and dimensions < embedder.dimension:
        vectors = vectors[:, :dimensions]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, np.where(lengths == 0, 1, lengths), dtype=np.float32)
    lengths_read, truncated = embedder.count_read(texts)
    return vectors, lengths_read, truncated


def _encoded(vector: FloatArray, encoding: str) -> Any:
    """Return a vector as numbers, or as base64 of little-endian float32."""
    if encoding == "float":
        return vector
    return b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
