"""RequestCycle: one HTTP request and its response, as the `receive` and `send` of ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE

_MAX_KNOWN_NAMES = 256
_MAX_JOINED_BYTES = 2**16  # a larger body is written separately, without a copy
_VALUE_BYTES = bytes(code for code in range(256) if code in b"\t" or 32 <= code != 127)
_BODILESS = frozenset({204, 304})
_FAILED = b"Internal Server Error"
_FAILED_HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_FAILED)),
    (b"connection", b"close"),
]

_LENGTH, _CODING, _CONNECTION = b"content-length: ", b"transfer-encoding: ", b"connection: "
# header names that passed validation, as written in a head
_known = {each[:-2]: each for each in (_LENGTH, _CODING, _CONNECTION)}


class _Connection(Protocol):
    """The connection of a request."""

    transport: Any
    flow: FlowControl
    logger: Any
    tasks: set[asyncio.Task[None]]

    def start(self, cycle: RequestCycle, app: ASGIApp) -> None:
        """Run an app on a request, in a task."""

    def default_head(self) -> HeadLines:
        """Return the headers that every response has."""

    def on_response_start(self, cycle: RequestCycle, status: int) -> None:
        """Write the access log line, if enabled."""

    def on_response_complete(self) -> None:
        """Start the next pipelined request."""


class HeadLines(NamedTuple):
    """Serialized response headers, with the facts that they state about body and connection."""

    lines: bytes
    length: int | None
    is_chunked: bool
    closes: bool


class RequestCycle:
    """One request of a connection and its response; replaces uvicorn's class.

    It costs half as much: the response head is written together with the start of the body, as the
    ASGI spec requires, headers are checked in one pass, and a complete request needs no event.
    """

    __slots__ = (
        "_arrival",
        "_connection",
        "_has_news",
        "_head",
        "_is_awaited",
        "_left",
        "_parts",
        "_size",
        "departure",
        "disconnected",
        "flow",
        "is_chunked",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "task",
        "transport",
        "waiting_for_100_continue",
    )

    def __init__(
        self, connection: _Connection, scope: Scope, keep_alive: bool, expects_continue: bool
    ) -> None:
        self._connection = connection
        self.transport = connection.transport
        self.flow = connection.flow
        self.scope = scope
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expects_continue
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False
        self._parts: list[bytes] = []  # of the body, not yet received by the app
        self._size = 0
        self._has_news = self._is_awaited = False  # state of `receive`: has a message, is waiting
        self._arrival: asyncio.Event | None = None  # created when `receive` first waits
        self._head = b""  # pending until the first body message
        self._left: int | None = None  # unsent bytes of the declared content-length
        self.is_chunked = False
        self.task: asyncio.Task[None] | None = None
        self.departure: Callable[[], None] | None = None  # called on disconnect

    async def run(self, app: ASGIApp) -> None:
        """Run the app; an exception before the response has started is answered with 500."""
        try:
            await app(self.scope, self.receive, self.send)
            if not self.response_complete and not self.disconnected:
                self._fail("the ASGI app returned before its response was complete", None)
        except BaseException as error:
            self._fail("Exception in ASGI application\n", error)
        finally:
            if self.task is not None:
                self._connection.tasks.discard(self.task)
                self.task = None  # break the reference cycle

    # The request

    @property
    def body(self) -> bytes:
        """The part of the body that has arrived but was not yet received by the app."""
        parts = self._parts
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def start(self, app: ASGIApp) -> None:
        """Run the app in a task."""
        self._connection.start(self, app)

    def disconnect(self) -> None:
        """Record the client's disconnect."""
        if not self.response_complete and not self.disconnected:
            self.disconnected = True
            if self.departure is not None:
                self.departure()
        self.wake()

    def feed(self, part: bytes) -> None:
        """Buffer a part of the body; pause reading above uvicorn's high-water mark."""
        self._parts.append(part)
        self._size += len(part)
        if self._size > HIGH_WATER_LIMIT and not self._is_awaited:
            self.flow.pause_reading()
        self.wake()

    def wake(self) -> None:
        """Wake up `receive` after a state change."""
        self._has_news = True
        self._is_awaited = False
        if self._arrival is not None:
            self._arrival.set()

    async def receive(self) -> Message:
        """Return the next body message, or `http.disconnect` after the end."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            if self.flow.read_paused:
                self.flow.resume_reading()
            if not self._has_news:
                self._arrival = self._arrival or asyncio.Event()
                self._is_awaited = True
                await self._arrival.wait()
            self._has_news = False
            if self._arrival is not None:
                self._arrival.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self._parts, self._size = b"".join(self._parts), [], 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    # The response

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a complete response; a no-op after a disconnect.

        `lines` are the serialized headers, including content-length.
        """
        if self.disconnected:
            return
        default = self._connection.default_head()
        self.response_started = True
        self._connection.on_response_start(self, status)
        end = b"\r\n"
        if default.closes:
            self.keep_alive = False
        elif not self.keep_alive:
            end = b"connection: close\r\n\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], default.lines, lines, end, body)))
        self._complete()

    async def send(self, message: Message) -> None:
        """Send the start of the response or a part of its body."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            self._start(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            self._write(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        lines, length, is_chunked, closes = head_lines(headers)
        default = self._connection.default_head()
        closes = closes or default.closes
        self.response_started = True
        self.waiting_for_100_continue = False
        self._connection.on_response_start(self, status)
        rest = b"\r\n"
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            rest = b"connection: close\r\n\r\n"
        if self.scope["method"] == "HEAD":
            length = None
        elif length is None:
            if not is_chunked and status in _BODILESS:
                length = 0
            elif not is_chunked and self.scope["http_version"] != "1.0":  # there the end is a close
                is_chunked = True
                rest = b"transfer-encoding: chunked\r\n" + rest
        self.is_chunked, self._left = is_chunked, length
        self._head = b"".join((STATUS_LINE[status], default.lines, lines, rest))

    def _write(self, body: bytes, more: bool) -> None:
        """Write a part of the body, the first one together with the head."""
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            body = b""
        elif self.is_chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                way = "longer" if self._left < 0 else "shorter"
                raise RuntimeError(f"the body of a response is {way} than its content-length")
        if len(body) <= _MAX_JOINED_BYTES:
            self.transport.write(head + body)
        else:
            if head:
                self.transport.write(head)
            self.transport.write(body)
        if not more:
            self.wake()
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self.transport.close()
        self._connection.on_response_complete()

    def _fail(self, problem: str, error: BaseException | None) -> None:
        """Log an app failure; answer 500, or close the connection if the response has started."""
        self._connection.logger.error(problem, exc_info=error)
        if self.response_started or self.disconnected:
            self.transport.close()
        else:
            self._start(500, _FAILED_HEADERS)
            self._write(_FAILED, more=False)


def head_lines(headers: Iterable[tuple[bytes, bytes]]) -> HeadLines:
    """Serialize response headers; raise `RuntimeError` for a header that HTTP does not allow."""
    lines: list[bytes] = []
    values: list[bytes] = []
    length: int | None = None
    is_chunked = closes = False
    for name, value in headers:
        known = _known.get(name) or _checked_name(name)
        lines += known, value, b"\r\n"
        values.append(value)
        if known is _LENGTH:
            if not is_chunked:
                length = int(value)
        elif known is _CODING:
            if value.lower() == b"chunked":
                is_chunked, length = True, None
        elif known is _CONNECTION:
            closes = closes or b"close" in map(bytes.strip, value.lower().split(b","))
    if b"".join(values).translate(None, _VALUE_BYTES):
        raise RuntimeError("a response has a header with a line break or a control character")
    return HeadLines(b"".join(lines), length, is_chunked, closes)


def _checked_name(name: bytes) -> bytes:
    """Return the serialized name of a header."""
    if HEADER_RE.search(name):
        raise RuntimeError(f"a response has a header with an invalid name: {name!r}")
    lower = name.lower()
    known = _known.get(lower) or lower + b": "
    if len(_known) < _MAX_KNOWN_NAMES:
        _known[name] = known
    return known
