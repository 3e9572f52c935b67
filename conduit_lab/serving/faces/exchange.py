"""Exchange: one request of a protocol and its answer, as the protocol's handler sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers, QueryParams
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving import codec
from conduit_lab.serving.answer import RawHeaders, send_json
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import ErrorBody
from conduit_lab.serving.faces import transport
from conduit_lab.serving.faces.formats import EventFormat
from conduit_lab.serving.gate.body import read_json_body
from conduit_lab.serving.gate.context import RequestContext, context_of

Handler = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request of a protocol and its answer.

    `path` has the path parameters. The handler calls one of the `send` methods, or raises: an
    exception becomes an error answer in the protocol's own form.
    """

    __slots__ = ("_receive", "_scope", "app", "context")

    def __init__(self, app: EndpointHost, scope: Scope, receive: Receive) -> None:
        self.app = app
        self.context: RequestContext = context_of(scope)
        self._scope = scope
        self._receive = receive

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self._scope["method"])

    @property
    def path(self) -> dict[str, Any]:
        """The path parameters."""
        return dict(self._scope.get("path_params", {}))

    @property
    def query(self) -> QueryParams:
        """The query parameters."""
        return QueryParams(self._scope.get("query_string", b""))

    @property
    def headers(self) -> Headers:
        """The headers; their names are compared without case."""
        return Headers(scope=self._scope)

    async def json(self) -> Any:
        """Read the body as a JSON value; 400, 413 or 415 where it is none."""
        limit = self.app.limits.body_bytes
        body = await read_json_body(self._scope, self._receive, limit, required=True)
        return codec.loads(body)

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function on a worker thread, so that the event loop stays free."""
        return await anyio.to_thread.run_sync(
            partial(function, *args, **kwargs), abandon_on_cancel=True
        )

    async def send(self, value: Any, status: int = 200, headers: RawHeaders | None = None) -> None:
        """Answer with a JSON value."""
        await send_json(self.context.send, status, codec.dumps(value), headers or ())

    async def send_stream(
        self, stream: Stream[Any], format: EventFormat, headers: RawHeaders | None = None
    ) -> None:
        """Answer with the chunks of a stream; it is cancelled when the client disconnects."""
        open_streams = self.context.server.open_streams
        reader = stream.hold(0)
        open_streams.add(stream)
        try:
            await transport.send_stream(
                reader, format, self._receive, self.context.send, headers=headers or []
            )
        finally:
            self.context.server.stream_chunks += reader.index
            open_streams.discard(stream)


def protocol_route(
    app: EndpointHost,
    path: str,
    handler: Handler,
    *,
    methods: Sequence[str] = ("POST",),
    error_body: ErrorBody,
) -> Route:
    """Return the route of one handler of a protocol, whose errors have the form of `error_body`."""
    return Route(path, _ProtocolFace(app, handler, error_body), methods=list(methods))


class _ProtocolFace:
    """An ASGI app that gives each request to a handler as an `Exchange`."""

    def __init__(self, app: EndpointHost, handler: Handler, error_body: ErrorBody) -> None:
        self._app = app
        self._handler = handler
        self._error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context_of(scope).error_body = self._error_body
        await self._handler(Exchange(self._app, scope, receive))
