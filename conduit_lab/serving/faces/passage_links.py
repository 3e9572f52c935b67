"""Passage links: URLs of cited passages, `/sources/{hash}#start-end`, and their route."""

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
    """Return the URL of the page that shows `source`, a source of a `Rag`'s answer.

    `base_path` is the app's address: "" for its root, or the prefix or URL under which clients
    reach it. `start` and `end` are the character offsets of the span to highlight, by default the
    whole text. The same text has the same path after a restart. `caller` is the key of the current
    request (`RequestContext.caller`) if the app has keys: the link then grants that key's access to
    this page for some days, since browsers send no key.
    """
    text = str(source.get("text", ""))
    begin = 0 if start is None else start
    stop = len(text) if end is None else end
    path = f"{SIGNED_PREFIX}{passage_hash(text)}"
    return f"{base_path.rstrip('/')}{path}{signed_query(caller, path)}#{begin}-{stop}"


def routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> list[Route]:
    """Return the route of the passage pages if the app serves a `Rag`."""
    rags = [each for each in endpoints if isinstance(each, RagEndpoint)]
    return [page(Route("/sources/{hash}", _PassageFace(rags), methods=["GET"]))] if rags else []


class _PassageFace:
    """An ASGI app that serves the pages of cited passages."""

    def __init__(self, rags: Sequence[RagEndpoint[Any]]) -> None:
        self._rags = rags

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        digest = scope["path_params"]["hash"]
        if not _HASH.fullmatch(digest):
            raise HttpError(404, "not_found", "there is no passage at this address")
        stores = _readable_stores(context_of(scope), self._rags)
        found = await anyio.to_thread.run_sync(_find, stores, digest)
        status, page = (200, found) if found else (404, missing_page())
        length = (b"content-length", b"%d" % len(page))
        headers = [*PAGE_HEADERS, length]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": page})


def _readable_stores(context: RequestContext, rags: Sequence[RagEndpoint[Any]]) -> list[Any]:
    """Return the stores of the served `Rag`s that are visible to the caller."""
    stores = {id(each.rag.store): each.rag.store for each in rags}.values()
    return [store for store in stores if may_see(context, store)]


def _find(stores: Sequence[Any], digest: str) -> bytes | None:
    """Return the page of the passage with this hash, or None."""
    from conduit_lab.vectors.store import VectorStore

    for store in stores:
        if not isinstance(store, VectorStore):  # other stores cannot list their entries
            continue
        entry = PassageIndex.of(store).find(store, digest)
        if entry is not None:
            return passage_page(store.name, entry)
    return None
