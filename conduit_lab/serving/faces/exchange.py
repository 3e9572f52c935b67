"""Exchange: one protocol request and its response, the interface of a protocol's handler."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from starlette.datastructures import Headers, QueryParams
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.core.errors import StreamCancelled
from conduit_lab.core.streams.backpressure import awaiting_reader
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.serving import codec
from conduit_lab.serving.answer import RawHeaders, record_headers, send_json
from conduit_lab.serving.answer_size import is_small
from conduit_lab.serving.call import Call
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
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
from conduit_lab.serving.gate.departure import while_connected
from conduit_lab.serving.paced_calls import PacedCalls
from conduit_lab.serving.plan import serve_call
from conduit_lab.serving.served_calls import ServedCalls

_R = TypeVar("_R")
_S = TypeVar("_S", bound=Stream[Any, Any])
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")

Handler = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One protocol request and its response.

    `path` has the path parameters, and `record` everything the call has touched so far. The handler
    calls one of the `send` methods, or raises: an exception becomes an error response in the
    protocol's format. Awaited work is cancelled when the client disconnects.
    """

    __slots__ = ("_paced", "_receive", "_scope", "_size", "app", "context", "record")

    def __init__(
        self, app: EndpointHost, scope: Scope, receive: Receive, paced: PacedCalls
    ) -> None:
        self.app = app
        self.context: RequestContext = context_of(scope)
        self.record = CallRecord()
        self._scope = scope
        self._receive = receive
        self._paced = paced
        self._size = 0  # of the body

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
        """The headers, with case-insensitive names."""
        return Headers(scope=self._scope)

    @property
    def base_url(self) -> str:
        """The app's address without a trailing slash: its public URL, or the one requested."""
        if self.app.public_url:
            return self.app.public_url
        scope, host = self._scope, self.headers.get("host", "")
        root = str(scope.get("root_path", "")).rstrip("/")
        return f"{scope['scheme']}://{host}{root}" if _HOST.fullmatch(host) else root

    async def body(self) -> bytes:
        """Read the body of any content type; 413 if it is too large."""
        limit = self.app.limits.body_bytes
        body = await read_json_body(
            self._scope, self._receive, limit, required=False, any_type=True
        )
        self._size = len(body)
        return body

    async def json(self) -> Any:
        """Read the body as a JSON value; 400, 413 or 415 if that fails."""
        limit = self.app.limits.body_bytes
        body = await read_json_body(self._scope, self._receive, limit, required=True)
        self._size = len(body)
        if len(body) > INLINE_BODY_BYTES:
            return await self.hop(codec.loads, body)
        return codec.loads(body)

    async def run(self, function: Callable[..., _R], *args: Any, of: str) -> _R:
        """Run `function(*args)` like an endpoint's handler, on the loop or on a thread.

        `of` is the name of the model or store in use.
        """
        return await self._paced.run(of, self._size, self._receive, function, *args)

    async def bind(self, bind: Callable[..., Call], *args: Any) -> Call:
        """Return the call `bind(*args, size of the body)`; a large body is bound on a thread."""
        if self._size > INLINE_BODY_BYTES:
            return await self.hop(bind, *args, self._size)
        return bind(*args, self._size)

    async def hop(self, function: Callable[..., _R], *args: Any) -> _R:
        """Run `function(*args)`, whose time grows with the request, on a worker thread."""
        return await self.wait(self.app.handler_threads.run(function, *args))

    async def wait(self, work: Coroutine[Any, Any, _R]) -> _R:
        """Await `work`; cancel it when the client disconnects."""
        return await while_connected(self._receive, work)

    async def start(self, function: Callable[..., _S], *args: Any, of: str, streamed: bool) -> _S:
        """Start a stream, paced like `run`; 429 if it is `streamed` and too many streams are open.

        Until the stream has a reader, its producer waits once the log is full.
        """
        if streamed:
            admit_stream(self.context)
        with awaiting_reader(transport.SEND_SECONDS):
            return await self.run(function, *args, of=of)

    async def call(self, endpoint: Endpoint[..., Any], call: Call) -> Any:
        """Return the answer to an endpoint call, as for a request to its path.

        The answer of a stream endpoint is its running stream; 429 if too many are open.
        """
        if endpoint.shape == "stream":
            admit_stream(self.context)
        answer, _ = await serve_call(self.app, endpoint, call, self._size, self._receive)
        return answer

    async def result(self, stream: Stream[Any, Any]) -> Any:
        """Wait for the result of a stream; cancel it when the client disconnects."""
        open_streams = self.context.server.open_streams
        open_streams.add(stream)
        try:
            return await self.wait(_result(stream))
        except StreamCancelled:
            raise HttpError(
                503, "stream_cancelled", "the generation was cancelled: try again later"
            ) from None
        finally:
            stream.cancel()
            open_streams.discard(stream)

    async def send(self, value: Any, status: int = 200, headers: RawHeaders | None = None) -> None:
        """Send a JSON value."""
        body = codec.dumps(value) if is_small(value) else await self.hop(codec.dumps, value)
        await send_json(
            self.context.send, status, body, [*(headers or ()), *self.fallback_headers()]
        )

    async def send_stream(
        self, stream: Stream[Any], format: EventFormat, headers: RawHeaders | None = None
    ) -> None:
        """Send the chunks of a stream; cancel it when the client disconnects."""
        open_streams = self.context.server.open_streams
        reader = stream.hold(0)
        open_streams.add(stream)
        try:
            await transport.send_stream(
                reader,
                format,
                self._receive,
                self.context.send,
                headers=[*(headers or ()), *self.fallback_headers()],
            )
        finally:
            self.context.server.stream_chunks += reader.index
            open_streams.discard(stream)
            if stream.error is not None and self.context.started:
                log_failure(stream.error, http_error(stream.error), self.context)
                drop_tracebacks(stream.error)

    def fallback_headers(self) -> RawHeaders:
        """Return the fallback and device headers of the call, and count its fallbacks."""
        record = self.record
        self.context.server.fallbacks += bool(record.fallbacks)
        return record_headers(record) if record.fallbacks or record.on_cpu else []


def protocol_route(
    app: EndpointHost,
    protocol: str,
    path: str,
    handler: Handler,
    *,
    methods: Sequence[str] = ("POST",),
    error_body: ErrorBody,
) -> Route:
    """Return the route of a protocol handler, with errors formatted by `error_body`.

    A POST is a call, with a span named after protocol and path, and a row in the app's statistics.
    Other methods only read.
    """
    calls = ServedCalls(app, f"{protocol} {path}") if tuple(methods) == ("POST",) else None
    return Route(path, _ProtocolFace(app, handler, error_body, calls), methods=list(methods))


class _ProtocolFace:
    """An ASGI app that calls a handler with an `Exchange` per request."""

    def __init__(
        self,
        app: EndpointHost,
        handler: Handler,
        error_body: ErrorBody,
        calls: ServedCalls | None,
    ) -> None:
        self._app = app
        self._handler = handler
        self._calls = calls
        self._paced = PacedCalls(app.handler_threads)
        self.error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context_of(scope).error_body = self.error_body
        exchange = Exchange(self._app, scope, receive, self._paced)
        if self._calls is None:
            await self._handler(exchange)
            return

        async def answer(record: CallRecord) -> None:
            exchange.record = record
            await self._handler(exchange)

        await self._calls.run(answer)


async def _result(stream: Stream[Any, Any]) -> Any:
    return await stream
