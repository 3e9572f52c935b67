"""The Model Context Protocol: an app's endpoints, tools and stores for agents, at `/mcp`.

Streamable HTTP of the revision 2026-07-28, whose requests need no session, and of the older ones
with the `initialize` handshake. The package `mcp` is imported when the first request needs it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from conduit_lab.core.errors import MissingExtra
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.context import context_of
from conduit_lab.serving.server_state import ServerState
from conduit_lab.serving.tool import MCP_PATH

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from conduit_lab.serving.faces.mcp_server import AppServer

MAX_SESSIONS = 1000  # of clients of the older revisions
SESSION_IDLE_SECONDS = 15 * 60.0

_managers: WeakKeyDictionary[ServerState, StreamableHTTPSessionManager] = WeakKeyDictionary()


def routes(app: EndpointHost) -> list[BaseRoute]:
    """Return the route of the protocol."""
    return [Route(MCP_PATH, _McpFace(), methods=["GET", "POST", "DELETE"])]


@asynccontextmanager
async def lifespan(app: EndpointHost, state: ServerState) -> AsyncIterator[None]:
    """Hold the sessions of one running server."""
    server = mcp_server(app)
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp.server.transport_security import TransportSecuritySettings

    manager = StreamableHTTPSessionManager(
        server.lowlevel,
        # the gate checks Host and Origin on every route
        security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        max_request_body_size=app.limits.body_bytes,
        session_idle_timeout=SESSION_IDLE_SECONDS,
        max_sessions=MAX_SESSIONS,
    )
    async with manager.run():
        _managers[state] = manager
        try:
            yield
        finally:
            del _managers[state]


def mcp_server(app: EndpointHost) -> AppServer:
    """Return the app's `MCPServer` of the package `mcp`, to which prompts may be added."""
    if app.mcp is None:
        try:
            from conduit_lab.serving.faces.mcp_server import AppServer
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "mcp":
                raise
            raise MissingExtra("mcp", "mcp", "the protocol MCP") from None
        app.mcp = AppServer(app)
    server: AppServer = app.mcp
    return server


class _McpFace:
    """An ASGI app that hands the requests of one path to the sessions of their server."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        context.error_body = mcp_error
        manager = _managers.get(context.server)
        if manager is None:
            raise HttpError(
                503,
                "not_started",
                "MCP was not enabled when this server started: start it again, with its lifespan",
            )
        await manager.handle_request(scope, receive, send)


def mcp_error(error: HttpError, request_id: str) -> bytes:
    """Return a JSON-RPC error for a request that was not read."""
    facts = {"code": -32603, "message": error.message, "data": {"request_id": request_id}}
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": facts}).encode()
