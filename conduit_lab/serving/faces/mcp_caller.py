"""The HTTP request of an MCP message, and the permissions of its caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from starlette.types import Message

from conduit_lab.core.caller import called_by
from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.gate.context import RequestContext, context_of
from conduit_lab.serving.gate.tenants import caller_of, visible_endpoints, visible_stores
from conduit_lab.vectors.store import VectorStore

_request: ContextVar[RequestContext | None] = ContextVar("mcp_request", default=None)


async def remember_request(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    """Handle one message with its HTTP request as context; over stdio there is none."""
    request: Any = ctx.request
    context = None if request is None else context_of(request.scope)
    token = _request.set(context)
    try:
        with called_by(None if context is None else caller_of(context)):
            return await call_next(ctx)
    finally:
        _request.reset(token)


async def no_disconnect() -> Message:
    """Wait forever, as an ASGI `receive`: the package `mcp` handles disconnects itself."""
    await anyio.sleep_forever()
    return {"type": "http.disconnect"}


def count_fallbacks(record: CallRecord) -> None:
    """Count the fallbacks of a call made over HTTP."""
    context = _request.get()
    if context is not None:
        context.server.fallbacks += bool(record.fallbacks)


def stores_of_caller(app: EndpointHost) -> Mapping[str, VectorStore]:
    """Return the stores visible to the caller of this message."""
    context = _request.get()
    return app.stores if context is None else visible_stores(context)


def endpoints_of_caller(app: EndpointHost) -> Sequence[Endpoint[..., Any]]:
    """Return the endpoints visible to the caller of this message."""
    context = _request.get()
    return app.endpoints if context is None else visible_endpoints(context)


def caller_name() -> str:
    """Return the key name of this message's caller; empty without keys."""
    context = _request.get()
    return "" if context is None or context.caller is None else context.caller.name
