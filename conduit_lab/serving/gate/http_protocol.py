"""BoundedHttp: uvicorn's HTTP protocol with a receive deadline and bounded request heads.

uvicorn waits forever for the rest of a request and accepts heads of any size. `Server` and
`conduit-lab serve` use this class; for `uvicorn app:app` pass `--http
conduit_lab.serving.gate.http_protocol:BoundedHttp`.
"""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import suppress
from copy import copy
from functools import lru_cache
from secrets import token_hex
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from conduit_lab.serving.errors import HttpError, error_body
from conduit_lab.serving.gate.admission import BOUNDED_HEAD
from conduit_lab.serving.gate.declined_upgrade import body_parser, has_body
from conduit_lab.serving.gate.request_cycle import HeadLines, RequestCycle, head_lines
from conduit_lab.serving.limits import Limits

BODY_BYTES_PER_SECOND = 4096  # a faster body may take longer than `receive_seconds`
MAX_FRAMING_FACTOR = 16  # received bytes of a chunked body per byte of content; 6 for 1-byte chunks
# many clients send a body apart from its head: within this time it is answered without a task
BODY_WAIT_SECONDS = 0.002
_MAX_AWAITED_BYTES = 2**16  # of such a body
LINGER_SECONDS = 2.0  # to read the rest of a rejected body, so the client gets the response
_OTHER_CODING = HttpError(
    501, "unsupported_transfer_encoding", "the only supported transfer-encoding is chunked"
)
_NO_HOST = HttpError(400, "bad_request", "the request has no header Host")  # RFC 9112, 3.2
_LONG_FRAMING = HttpError(
    400, "bad_request", "the chunk extensions or trailers of the body are too long: leave them out"
)


class BoundedHttp(HttpToolsProtocol):
    """One connection, with the app's limits on each request.

    A late request is answered with 408 and a large head with 431, and the connection is closed. One
    timer per connection enforces this and closes idle connections, at no cost per request.
    """

    # not uvicorn's classes
    scope: Any
    cycle: Any
    pipeline: Any

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._limits = _limits_of(config.loaded_app)
        # uvicorn's proxy middleware only changes requests with the headers of a proxy
        self._unproxied: Any = self.app
        self._proxy: Any = None
        if isinstance(self.app, ProxyHeadersMiddleware):
            self._unproxied, self._proxy = self.app.app, copy(self.app)
            self._proxy.app = _nothing
        # an `App` can answer a complete request without a task
        self._begin = getattr(self._unproxied, "begin_request", None)
        self._unstarted: Any = None  # the app for the request in progress, until it starts
        self.app_state[BOUNDED_HEAD] = True
        self._since: float | None = None  # start of the request in progress
        self._idle_since = self.loop.time()
        self._received = self._read = 0  # bytes of the request, and of the last read
        self._content = self._framed = 0  # bytes of the body, without and with chunk framing
        self._in_head = self._upgrades = self._is_refused = False
        self._refusal: HttpError | None = None
        self._declined: dict[bytes, bytes] | None = None  # headers of a body without a parser
        self._timer: asyncio.TimerHandle | None = None
        self._awaits_body = False  # the request in progress may wait for a short body
        self._body_wait: asyncio.TimerHandle | None = None
        self._answering: Any = None  # the cycle being answered; `cycle` is the last one received
        self._default_headers: Any = None
        self._default_head = HeadLines(b"", None, False, False)

    def connection_made(self, transport: Any) -> None:
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._in_head = True
        self._check_later(min(self._limits.receive_seconds, self.timeout_keep_alive))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer and disconnect the requests in progress."""
        for timer in self._timer, self._body_wait:
            if timer is not None:
                timer.cancel()
        last, self.cycle = self.cycle, None  # hidden from uvicorn, which would disconnect it
        super().connection_lost(exc)
        self.cycle = last
        for cycle in {last, self._answering} - {None}:
            cycle.disconnect()

    # The request

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        if self._is_refused:
            return
        if self._since is None:
            self._since = self.loop.time()
        self._read = len(data)
        self._received += self._read
        rest = None if self._in_head else self.cycle  # the request with an incomplete body
        self._parse(data)
        if self._unstarted is not None and self._body_wait is None:
            if self._awaits_body:
                self._body_wait = self.loop.call_later(BODY_WAIT_SECONDS, self._start_unfinished)
            else:
                self._start_unfinished()
        # a complete head is measured exactly; this bounds an endless one
        if self._in_head and self._received > 2 * self._limits.header_bytes:
            self._refuse(_large_head(self._limits))
        elif rest is not None and rest is self.cycle and rest.more_body:
            self._check_framing()

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("")
        except httptools.HttpParserUpgrade as end:
            if self._upgrades:
                self.handle_websocket_upgrade()
            elif self._declined is not None:
                self.parser, self._declined = body_parser(self, self._declined), None
                self._parse(data[end.args[0] :])

    def on_message_begin(self) -> None:
        """Start a head; all bytes of the current read count toward it."""
        super().on_message_begin()
        self._in_head = True
        self._received = max(self._received, self._read)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; trailers of a chunked body are ignored (RFC 9110, 6.5.1)."""
        if self._in_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head and schedule the app."""
        limits, parser, scope = self._limits, self.parser, self.scope
        self._in_head = False
        self._content = self._framed = 0
        if len(self.headers) > limits.header_count or (
            self._received > limits.header_bytes and self._head_bytes() > limits.header_bytes
        ):
            self._refuse_head(_large_head(limits))
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version = parser.get_http_version()
        self._upgrades = parser.should_upgrade() and self._should_upgrade()
        if self._upgrades:
            return
        path, raw_path, scope["query_string"] = _target(self.url)
        if root := self.root_path:
            path, raw_path = root + path, root.encode("ascii") + raw_path
        scope["path"], scope["raw_path"] = path, raw_path
        names = dict(self.headers)
        if version == "1.1" and b"host" not in names:
            self._refuse_head(_NO_HOST)
        if names.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
            self._refuse_head(_OTHER_CODING)
        app = self._unproxied
        if self._proxy is not None and (
            b"x-forwarded-for" in names or b"x-forwarded-proto" in names
        ):
            with suppress(StopIteration):  # it changes the scope, and awaits its app alone
                self._proxy(scope, _nothing, _nothing).send(None)
        if self.limit_concurrency is not None and (
            max(len(self.connections), len(self.tasks)) >= self.limit_concurrency
        ):
            app = service_unavailable
            self.logger.warning("Exceeded concurrency limit.")
        before = self.cycle
        is_declined = parser.should_upgrade()  # the parser drops what follows: close afterwards
        self._declined = names if is_declined and has_body(names) else None
        keep_alive = version != "1.0" and parser.should_keep_alive() and not is_declined
        expects_continue = names.get(b"expect", b"").lower() == b"100-continue"
        self.cycle = cycle = RequestCycle(self, scope, keep_alive, expects_continue)
        if before is None or before.response_complete:
            self._unstarted = app  # the body may be in this read, or in the next one
            length = names.get(b"content-length", b"")
            self._awaits_body = (
                app is self._unproxied
                and self._begin is not None
                and not expects_continue
                and length.isdigit()
                and int(length) <= _MAX_AWAITED_BYTES
            )
        else:  # pipelined behind an unfinished response
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body to the cycle."""
        self._content += len(body)
        if not self._upgrades and not self.cycle.response_complete:
            self.cycle.feed(body)

    def on_message_complete(self) -> None:
        """Stop the receive deadline: the request is complete."""
        if self._declined is not None:
            return  # the parser ends at the head
        self._since = None
        self._received = 0
        cycle = self.cycle
        if self._upgrades or cycle.response_complete:
            return
        cycle.more_body = False
        cycle.wake()
        if (app := self._unstarted) is not None:
            self._unstarted = None
            if self._body_wait is not None:
                self._body_wait.cancel()
                self._body_wait = None
            self._answering = cycle
            is_direct = app is self._unproxied and not self.flow.write_paused
            if not (is_direct and self._begin is not None and self._begin(cycle)):
                self.start(cycle, app)

    def _start_unfinished(self) -> None:
        """Start the app of a request before its body is complete."""
        self._body_wait = None
        app, self._unstarted = self._unstarted, None
        if app is not None and not self.transport.is_closing():
            self.start(self.cycle, app)

    def start(self, cycle: RequestCycle, app: Any) -> None:
        """Run an app on a request, in a task."""
        context = contextvars.Context() if self.config.reset_contextvars else None
        self._answering = cycle
        cycle.task = task = self.loop.create_task(cycle.run(app), context=context)
        self.tasks.add(task)

    # The response

    def default_head(self) -> HeadLines:
        """Return uvicorn's default headers, which it updates every second."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_head, self._default_headers = head_lines(headers), headers
        return self._default_head

    def on_response_start(self, cycle: RequestCycle, status: int) -> None:
        """Write uvicorn's access log line, if enabled."""
        if self.access_log:
            scope: Any = cycle.scope
            self.access_logger.info(
                '%s - "%s %s HTTP/%s" %d',
                get_client_addr(scope),
                scope["method"],
                get_path_with_query_string(scope),
                scope["http_version"],
                status,
            )

    def on_response_complete(self) -> None:
        """Start the next pipelined request, and limit the time to read an unneeded body."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._idle_since = self.loop.time()
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self.start(*self.pipeline.pop())
        if self._since is not None:
            self.loop.call_later(LINGER_SECONDS, self._end_rest, self._since)

    def send_400_response(self, msg: str) -> None:
        """Reject a malformed request, or one with too large a head."""
        self._refuse(self._refusal or HttpError(400, "bad_request", "the request is not HTTP/1.1"))

    def _refuse_head(self, error: HttpError) -> None:
        self._refusal = error
        raise ValueError  # httptools reports it as an error of the request

    def _check_framing(self) -> None:
        """Reject endless chunk extensions or trailers, which no other limit counts."""
        self._framed += self._read
        allowed = 2 * self._limits.header_bytes + MAX_FRAMING_FACTOR * self._content
        if self._framed > allowed:
            self._refuse(_LONG_FRAMING)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _check(self) -> None:
        """Reject a late request, or schedule the next check."""
        if self.transport.is_closing():
            return
        limit, now = self._limits.receive_seconds, self.loop.time()
        if self._since is None:
            if self.cycle is None or self.cycle.response_complete:
                idle = now - self._idle_since
                if idle >= self.timeout_keep_alive:
                    self.transport.close()
                else:
                    self._check_later(self.timeout_keep_alive - idle)
            else:  # busy with an answer
                self._check_later(min(limit, self.timeout_keep_alive))
            return
        busy = self.cycle is not None and self.cycle.waiting_for_100_continue
        if self.flow.read_paused or busy:  # paused by this server: the client is not late
            self._since = now
        allowed = limit + (0 if self._in_head else self._received / BODY_BYTES_PER_SECOND)
        if (late_in := self._since + allowed - now) > 0:
            self._check_later(min(late_in, self.timeout_keep_alive))
            return
        message = f"the request did not arrive within {limit:g} s"
        self._refuse(HttpError(408, "request_timeout", message))

    def _check_later(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._check)

    def _end_rest(self, since: float) -> None:
        if self._since == since and not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, error: HttpError) -> None:
        """Send an error response in place of the app, and close the connection."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:  # complete requests before this one are answered first
                cycle.keep_alive = False
                self._is_refused = True
                return
            if cycle.response_started:
                self.transport.abort()
                return
            cycle.disconnect()  # discards further messages of the app
        body = error_body(error, token_hex(8))
        length = b"content-length: %d\r\n" % len(body)
        head = STATUS_LINE[error.status] + b"content-type: application/json\r\n" + length
        self.transport.write(head + b"connection: close\r\n\r\n" + body)
        self.transport.close()


async def _nothing(*_: Any) -> None:
    """Do nothing, as the app of a middleware used only to rewrite the scope."""


@lru_cache(maxsize=256)
def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the decoded path, the raw path and the query of a request target."""
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.path, parsed.query or b""


def _large_head(limits: Limits) -> HttpError:
    most = f"{limits.header_count} headers or {limits.header_bytes} bytes"
    return HttpError(431, "head_too_large", f"the head of the request has more than {most}")


def _limits_of(app: Any) -> Limits:
    """Return the limits of an app, which may be wrapped in middleware."""
    while app is not None:
        limits = getattr(app, "limits", None)
        if isinstance(limits, Limits):
            return limits
        app = getattr(app, "app", None)
    return Limits.from_environment()
