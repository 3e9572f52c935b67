"""Store search: read-only access to the stores of an app over HTTP.

`GET /v1/stores` lists them; `POST /v1/stores/{name}/search` searches one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.routing import BaseRoute

from conduit_lab.core.errors import InputError
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import HttpError, error_body
from conduit_lab.serving.faces.exchange import Exchange, protocol_route
from conduit_lab.serving.gate.tenants import visible_stores
from conduit_lab.vectors.store import VectorStore

MAX_SEARCH_HITS = 1_000  # per request; each includes its content
MAX_SEARCH_CHARACTERS = 32_768
MAX_SEARCH_NUMBERS = 65_536  # in an embedding

_OPTIONS = ("top_k", "where", "mode", "exact", "mmr", "fusion")
_FIELDS = ("query", *_OPTIONS)


def routes(app: EndpointHost) -> list[BaseRoute]:
    """Return the routes that list and search stores."""
    return [
        protocol_route(app, "stores", "/v1/stores", _list, methods=("GET",), error_body=error_body),
        protocol_route(app, "stores", "/v1/stores/{name}/search", _search, error_body=error_body),
    ]


async def _list(exchange: Exchange) -> None:
    stores = [*visible_stores(exchange.context).items()]
    await exchange.send({"stores": await exchange.run(_facts, stores, of="")})


async def _search(exchange: Exchange) -> None:
    stores, name = visible_stores(exchange.context), str(exchange.path["name"])
    if name not in stores:
        known = ", ".join(stores) or "none"
        raise HttpError(
            404, "not_found", f"no store {name!r}; there are {known}{did_you_mean(name, stores)}"
        )
    body = await exchange.json()
    await exchange.send(await exchange.run(_answer, stores[name], body, of=name))


def _facts(stores: list[tuple[str, VectorStore]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "entries": len(store),
            "dimension": store.dimension,
            "metric": store.metric,
            "takes_text": store.embedder is not None,
        }
        for name, store in stores
    ]


def _answer(store: VectorStore, body: Any) -> dict[str, Any]:
    query, options = _checked(body)
    found = store.search(query, **options)
    return {
        "store": found.store,
        "plan": found.plan,
        "best": found.best,
        "hits": found,
        "similarities": found.similarities,
    }


def _checked(body: Any) -> tuple[str | np.ndarray[Any, Any], dict[str, Any]]:
    """Return the query and options of a search; other option values are checked by the store."""
    if not isinstance(body, dict):
        raise InputError(f"the body expects an object with query, got {type(body).__name__}")
    for name in body:
        if name not in _FIELDS:
            meant = did_you_mean(name, _FIELDS)
            raise InputError(f"a search has no {name!r}; there are {', '.join(_FIELDS)}{meant}")
    options = {name: body[name] for name in _OPTIONS if name in body}
    top_k, where = options.get("top_k", 1), options.get("where")
    if type(top_k) is not int or not 1 <= top_k <= MAX_SEARCH_HITS:
        raise InputError(f"top_k expects an integer from 1 to {MAX_SEARCH_HITS}, got {top_k!r}")
    if where is not None and not isinstance(where, dict):  # not a mask of rows
        raise InputError('where expects a filter such as {"section": "returns"}, got another type')
    if type(options.get("exact", False)) is not bool:
        raise InputError("exact expects true or false")
    return _query(body.get("query")), options


def _query(query: Any) -> str | np.ndarray[Any, Any]:
    if isinstance(query, str) and query:
        if len(query) > MAX_SEARCH_CHARACTERS:
            raise InputError(
                f"query expects at most {MAX_SEARCH_CHARACTERS:,} characters, got {len(query):,}"
            )
        return query
    numbers = isinstance(query, list) and all(type(each) in (int, float) for each in query)
    if not numbers or not 0 < len(query) <= MAX_SEARCH_NUMBERS:
        raise InputError("query expects text, or an embedding as a list of numbers")
    try:
        return np.asarray(query, np.float64)
    except OverflowError:
        raise InputError("query has an integer that is too large for an embedding") from None
