"""The Model Context Protocol: an app's endpoints, tools and stores for agents, at `/mcp`.

Streamable HTTP in the stateless revision 2026-07-28, and in older ones with the `initialize`
handshake. The package `mcp` is imported on demand.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import anyio
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from conduit_lab.core.errors import MissingExtra
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.mcp_message import ERROR_CODES, checked_receive
from conduit_lab.serving.gate.admission import leave_slot
from conduit_lab.serving.gate.context import RequestContext, context_of
from conduit_lab.serving.gate.keys import Key
from conduit_lab.serving.gate.slots import too_busy
from conduit_lab.serving.server_state import ServerState
from conduit_lab.serving.tool import MCP_PATH

if TYPE_CHECKING:
    from conduit_lab.serving.faces.mcp_journal import SessionManager
    from conduit_lab.serving.faces.mcp_server import AppServer

MAX_SESSIONS = 1000  # of clients with older revisions
SESSION_IDLE_SECONDS = 15 * 60.0
_CHANGE_SECONDS = 1.0  # polling interval for changed endpoints
_READY_SECONDS = 0.5  # polling interval for a stopping server
_COMMENT: Message = {"type": "http.response.body", "body": b":\n\n", "more_body": True}

_sessions: WeakKeyDictionary[ServerState, _Sessions] = WeakKeyDictionary()


def routes(app: EndpointHost) -> list[BaseRoute]:
    """Return the protocol's route."""
    return [Route(MCP_PATH, _McpFace(), methods=["GET", "POST", "DELETE"])]


@asynccontextmanager
async def lifespan(app: EndpointHost, state: ServerState) -> AsyncIterator[None]:
    """Manage the MCP sessions of one running server."""
    server = mcp_server(app)
    from mcp.server.transport_security import TransportSecuritySettings

    from conduit_lab.serving.faces.mcp_journal import SessionManager

    manager = SessionManager(
        server.lowlevel,
        # the gate checks Host and Origin on every route
        security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        max_request_body_size=app.limits.body_bytes,
        session_idle_timeout=SESSION_IDLE_SECONDS,
        max_sessions=MAX_SESSIONS,
    )
    async with manager.run(), anyio.create_task_group() as group:
        sessions = _sessions[state] = _Sessions(manager)
        group.start_soon(_announce_changes, app, server, sessions)
        try:
            yield
        finally:
            group.cancel_scope.cancel()
            server.tasks.stop()
            del _sessions[state]


def mcp_server(app: EndpointHost) -> AppServer:
    """Return the app's `MCPServer` (of the package `mcp`), to which prompts can be added."""
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
    """An ASGI app that passes requests to the MCP sessions of their server."""

    def __init__(self) -> None:
        self.error_body = mcp_error  # for errors of the gate, before this face runs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        context.error_body = mcp_error
        sessions = _sessions.get(context.server)
        if sessions is None:
            raise HttpError(
                503,
                "not_started",
                "MCP was not enabled when this server started: restart it, with its lifespan",
            )
        if context.caller is not None:
            scope["user"] = _owner(context.caller)
        if scope["method"] == "POST":
            receive = await checked_receive(scope, receive, context.app.limits.body_bytes)
        # uvicorn keeps trailing whitespace of header values (RFC 9110, section 5.5)
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        if _is_listening(scope):
            await _listen(sessions, context, scope, receive)
        else:
            await sessions.manager.handle_request(scope, receive, context.send)


def _owner(key: Key) -> Any:
    """Return a key as a user of the package `mcp`, which binds a session to its user."""
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
    from mcp.server.auth.provider import AccessToken

    return AuthenticatedUser(AccessToken(token="", client_id=key.name, scopes=[]))


class _Sessions:
    """The sessions of one server, and the number of listening requests."""

    __slots__ = ("listeners", "manager")

    def __init__(self, manager: SessionManager) -> None:
        self.manager = manager
        self.listeners = 0


async def _announce_changes(app: EndpointHost, server: AppServer, sessions: _Sessions) -> None:
    """Notify listening clients when endpoints or tools have changed."""
    known = app.endpoints
    while True:
        await anyio.sleep(_CHANGE_SECONDS)
        if app.endpoints is not known:  # each change creates a new list
            known = app.endpoints
            if sessions.listeners:
                await server.announce_tools()


async def _listen(
    sessions: _Sessions, context: RequestContext, scope: Scope, receive: Receive
) -> None:
    """Serve a listening request until its client disconnects or its server stops.

    It holds no slot; the number of listening requests has its own limit.
    """
    limit = context.app.limits.concurrent_streams
    if limit is not None and sessions.listeners >= limit:
        raise too_busy("too many streams are open")
    leave_slot(context)
    is_open = False

    async def send(message: Message) -> None:
        nonlocal is_open
        starts = message["type"] == "http.response.start"
        is_open = starts or bool(message.get("more_body", False))
        await context.send(message)
        if starts and message["status"] == 200 and scope["method"] == "GET":
            await context.send(_COMMENT)  # the server writes headers with the first bytes

    sessions.listeners += 1
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_end_with_server, context, group.cancel_scope)
            await sessions.manager.handle_request(scope, receive, send)
            group.cancel_scope.cancel()
        if is_open:
            await context.send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        sessions.listeners -= 1


def _is_listening(scope: Scope) -> bool:
    """Return whether a request listens for server notifications indefinitely."""
    return scope["method"] == "GET" or (b"mcp-method", b"subscriptions/listen") in scope["headers"]


async def _end_with_server(context: RequestContext, listening: anyio.CancelScope) -> None:
    """Cancel a listening request once its server stops accepting requests."""
    while context.server.ready:  # noqa: ASYNC110 - another thread may set it
        await anyio.sleep(_READY_SECONDS)
    listening.cancel()


def mcp_error(error: HttpError, request_id: str) -> bytes:
    """Return a JSON-RPC error for a request rejected before it was parsed."""
    code = ERROR_CODES.get(error.kind, -32603)
    facts = {"code": code, "message": error.message, "data": {"request_id": request_id}}
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": facts}).encode()
