"""Tenants: the current caller, and the stores and endpoints visible to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conduit_lab.core.caller import Caller, called_by
from conduit_lab.serving.rag_endpoint import RagEndpoint

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from conduit_lab.serving.endpoint import Endpoint
    from conduit_lab.serving.gate.context import RequestContext
    from conduit_lab.vectors.store import VectorStore


class CalledFace:
    """An ASGI app that runs a face with the `current_caller` set."""

    def __init__(self, face: ASGIApp, context: RequestContext) -> None:
        self._face = face
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the face as the caller of the request."""
        with called_by(caller_of(self._context)):
            await self._face(scope, receive, send)


def caller_of(context: RequestContext) -> Caller | None:
    """Return the caller of a request as exposed to its handler."""
    key = context.caller
    return None if key is None else Caller(key.name, key.tenant)


def visible_stores(context: RequestContext) -> dict[str, VectorStore]:
    """Return the stores visible to the caller of a request, by name.

    A key with a tenant sees the stores of that tenant and those without one. A key without a
    tenant, and any caller of an app without keys, sees every store.
    """
    stores = context.app.stores
    return {name: each for name, each in stores.items() if may_see(context, each)}


def visible_endpoints(context: RequestContext) -> list[Endpoint[..., Any]]:
    """Return the endpoints, except each `Rag` on a store hidden from the caller."""
    return [
        each
        for each in context.app.endpoints
        if not isinstance(each, RagEndpoint) or may_see(context, each.rag.store)
    ]


def may_see(context: RequestContext, store: Any) -> bool:
    """Return whether a store is visible to the caller; it need not belong to an app."""
    caller = context.caller
    if caller is None or caller.tenant is None:
        return True
    return getattr(store, "tenant", None) in (None, caller.tenant)
