"""`/v1/models`: the generators, embedders and `Rag`s of an app."""

from __future__ import annotations

from typing import Any

from conduit_lab.models.text.embedder import Embedder
from conduit_lab.serving.faces.exchange import Exchange
from conduit_lab.serving.faces.language.served_models import models_of, named_model, text_models


async def list_models(exchange: Exchange) -> None:
    """Answer GET /v1/models."""
    await exchange.send({"object": "list", "data": list(_described(exchange).values())})


async def retrieve_model(exchange: Exchange) -> None:
    """Answer GET /v1/models/{model}."""
    models = _described(exchange)
    await exchange.send(named_model(models, str(exchange.path["model"]), "model"))


def _described(exchange: Exchange) -> dict[str, dict[str, Any]]:
    app = exchange.app
    names = [*text_models(exchange.context), *models_of(app, Embedder)]
    # models have no creation date
    return {
        name: {"id": name, "object": "model", "created": 0, "owned_by": app.name} for name in names
    }
