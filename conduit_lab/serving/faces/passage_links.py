"""Passage links: the URL of a cited passage, `/sources/{hash}#start-end`, and its page's route."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import anyio.to_thread
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.passage_index import PassageIndex, passage_hash
from conduit_lab.serving.faces.passage_page import PAGE_HEADERS, missing_page, passage_page
from conduit_lab.serving.gate.context import RequestContext, context_of
from conduit_lab.serving.gate.keys import Key
from conduit_lab.serving.gate.origins import page
from conduit_lab.serving.gate.signed_links import SIGNED_PREFIX, signed_query
from conduit_lab.serving.gate.tenants import may_see
from conduit_lab.serving.rag_endpoint import RagEndpoint

_HASH = re.compile(r"[0-9a-f]{32}")


def citation_url(
    base_path: str,
    source: Mapping[str, Any],
    start: int | None = None,
    end: int | None = None,
    *,
    caller: Key | None = None,
) -> str:
    """Return the URL at which the passage of `source` is shown, a source of a `Rag`'s answer.

    `base_path` is the address of the app: "" for its own root, or the prefix or the whole URL that
    clients reach it under. `start` and `end` are offsets in the source's text that the page marks,
    in characters; by default all of the text. The same text has the same path after a restart.
    `caller` is the key of the request that is answered (`RequestContext.caller`), if the app has
    keys: the link then has the rights of that key for this page, for some days, since a browser
    that follows it sends none.
    """
    text = str(source.get("text", ""))
    begin = 0 if start is None else start
    stop = len(text) if end is None else end
    path = f"{SIGNED_PREFIX}{passage_hash(text)}"
    return f"{base_path.rstrip('/')}{path}{signed_query(caller, path)}#{begin}-{stop}"


def routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> list[Route]:
    """Return the route of the cited passages of an app that serves a `Rag`."""
    rags = [each for each in endpoints if isinstance(each, RagEndpoint)]
    return [page(Route("/sources/{hash}", _PassageFace(rags), methods=["GET"]))] if rags else []


class _PassageFace:
    """An ASGI app that answers with the page of one passage."""

    def __init__(self, rags: Sequence[RagEndpoint[Any]]) -> None:
        self._rags = rags

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        digest = scope["path_params"]["hash"]
        if not _HASH.fullmatch(digest):
            raise HttpError(404, "not_found", "no passage has this address")
        stores = _readable_stores(context_of(scope), self._rags)
        found = await anyio.to_thread.run_sync(_find, stores, digest)
        status, page = (200, found) if found else (404, missing_page())
        length = (b"content-length", b"%d" % len(page))
        headers = [*PAGE_HEADERS, length]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": page})


def _readable_stores(context: RequestContext, rags: Sequence[RagEndpoint[Any]]) -> list[Any]:
    """Return the stores whose passages the caller may read, of those of the served `Rag`s."""
    stores = {id(each.rag.store): each.rag.store for each in rags}.values()
    return [store for store in stores if may_see(context, store)]


def _find(stores: Sequence[Any], digest: str) -> bytes | None:
    """Return the page of the passage with this hash, or None."""
    from conduit_lab.vectors.store import VectorStore

    for store in stores:
        if not isinstance(store, VectorStore):  # nothing else gives its entries
            continue
        entry = PassageIndex.of(store).find(store, digest)
        if entry is not None:
            return passage_page(store.name, entry)
    return None
