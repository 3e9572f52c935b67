"""Exchange: one request of a protocol and its answer, as the protocol's handler sees it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio.to_thread
from starlette.datastructures import Headers, QueryParams
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.core.errors import StreamCancelled
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving import codec
from conduit_lab.serving.answer import RawHeaders, send_json
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import (
    ErrorBody,
    HttpError,
    drop_tracebacks,
    http_error,
)
from conduit_lab.serving.faces import transport
from conduit_lab.serving.faces.binding import INLINE_BODY_BYTES
from conduit_lab.serving.faces.formats import EventFormat
from conduit_lab.serving.failures import log_failure
from conduit_lab.serving.gate.admission import admit_stream
from conduit_lab.serving.gate.body import read_json_body
from conduit_lab.serving.gate.context import RequestContext, context_of

_S = TypeVar("_S", bound=Stream[Any, Any])
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")

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

    @property
    def base_url(self) -> str:
        """The address of the app, without a slash: its public one, or as the client wrote it."""
        if self.app.public_url:
            return self.app.public_url
        scope, host = self._scope, self.headers.get("host", "")
        root = str(scope.get("root_path", "")).rstrip("/")
        return f"{scope['scheme']}://{host}{root}" if _HOST.fullmatch(host) else root

    async def body(self) -> bytes:
        """Read the body, of whatever type it is declared; 413 above its limit."""
        limit = self.app.limits.body_bytes
        return await read_json_body(
            self._scope, self._receive, limit, required=False, any_type=True
        )

    async def json(self) -> Any:
        """Read the body as a JSON value; 400, 413 or 415 where it is none."""
        limit = self.app.limits.body_bytes
        body = await read_json_body(self._scope, self._receive, limit, required=True)
        if len(body) <= INLINE_BODY_BYTES:
            return codec.loads(body)
        return await anyio.to_thread.run_sync(codec.loads, body)

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function on a worker thread, so that the event loop stays free."""
        return await anyio.to_thread.run_sync(
            partial(function, *args, **kwargs), abandon_on_cancel=True
        )

    async def start(self, function: Callable[..., _S], *args: Any) -> _S:
        """Start a stream on a worker thread; it is cancelled where nobody will read it."""
        started: list[_S] = []
        abandoned: list[bool] = []

        def run() -> None:
            started.append(function(*args))
            if abandoned:
                started[0].cancel()

        try:
            await anyio.to_thread.run_sync(run, abandon_on_cancel=True)
        except BaseException:  # cancelled, before or after the stream has started
            abandoned.append(True)
            for stream in started:
                stream.cancel()
            raise
        return started[0]

    async def result(self, stream: Stream[Any, Any]) -> Any:
        """Wait for the result of a stream; it is cancelled when the client disconnects."""
        open_streams = self.context.server.open_streams
        watch = asyncio.ensure_future(self._watch(stream))
        open_streams.add(stream)
        try:
            return await stream
        except StreamCancelled:
            raise HttpError(
                503, "stream_cancelled", "the generation was cancelled: try again later"
            ) from None
        finally:
            stream.cancel()
            watch.cancel()
            open_streams.discard(stream)

    async def _watch(self, stream: Stream[Any, Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        stream.cancel()

    async def send(self, value: Any, status: int = 200, headers: RawHeaders | None = None) -> None:
        """Answer with a JSON value."""
        await send_json(self.context.send, status, codec.dumps(value), headers or ())

    async def send_stream(
        self, stream: Stream[Any], format: EventFormat, headers: RawHeaders | None = None
    ) -> None:
        """Answer with the chunks of a stream; it is cancelled when the client disconnects."""
        try:
            admit_stream(self.context)
        except HttpError:
            stream.cancel()
            raise
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
            if stream.error is not None and self.context.started:
                log_failure(stream.error, http_error(stream.error), self.context)
                drop_tracebacks(stream.error)


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
        self.error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context_of(scope).error_body = self.error_body
        await self._handler(Exchange(self._app, scope, receive))
