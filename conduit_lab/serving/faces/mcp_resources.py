"""MCP resources of an app: its stores and their entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.types import Resource, ResourceTemplate

from conduit_lab.serving import codec
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.faces.mcp_caller import stores_of_caller
from conduit_lab.serving.faces.mcp_search import STORE_SCHEME
from conduit_lab.serving.stores import store_facts
from conduit_lab.vectors.store import VectorStore

_JSON = "application/json"


def store_resources(app: EndpointHost) -> list[Resource]:
    """Return a resource per store, with its facts."""
    return [
        Resource(
            uri=STORE_SCHEME + name,
            name=name,
            title=f"Store {name}",
            description=f"The facts of the store {name!r}: entries, dimension, metric",
            mime_type=_JSON,
        )
        for name in stores_of_caller(app)
    ]


def entry_templates(app: EndpointHost) -> list[ResourceTemplate]:
    """Return a resource template per store, for its entries by ID."""
    return [
        ResourceTemplate(
            uri_template=f"{STORE_SCHEME}{name}/{{id}}",
            name=f"{name} entry",
            title=f"An entry of {name}",
            description=f"The text and metadata of an entry of the store {name!r}",
            mime_type=_JSON,
        )
        for name in stores_of_caller(app)
    ]


async def read_store(app: EndpointHost, uri: str) -> Iterable[ReadResourceContents] | None:
    """Return the content of a store or an entry; None for a URI of another scheme."""
    if not uri.startswith(STORE_SCHEME):
        return None
    name, _, identity = uri.removeprefix(STORE_SCHEME).partition("/")
    store = stores_of_caller(app).get(name)
    if store is None:
        raise ResourceNotFoundError(f"no store {name[:80]!r}")
    found: Any = await app.handler_threads.run(_facts, store, unquote(identity))
    if found is None:
        raise ResourceNotFoundError(f"the store {name!r} has no entry {unquote(identity)[:80]!r}")
    return [ReadResourceContents(content=codec.dumps(found).decode(), mime_type=_JSON)]


def _facts(store: VectorStore, identity: str) -> dict[str, Any] | None:
    if not identity:
        return store_facts(store)
    entry = store.get(identity)
    if entry is None:
        return None
    return {"id": entry.id, "content": entry.content, "metadata": entry.metadata}
