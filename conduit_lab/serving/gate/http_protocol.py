"""BoundedHttp: uvicorn's HTTP protocol with a deadline for requests to arrive and bounded heads.

uvicorn waits for the rest of a request for ever, and takes heads of any size. `Server` and
`conduit-lab serve` use this class; `uvicorn app:app` does with
`--http conduit_lab.serving.gate.http_protocol:BoundedHttp`.
"""

from __future__ import annotations

import asyncio
import contextvars
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
from conduit_lab.serving.gate.request_cycle import HeadLines, RequestCycle, head_lines
from conduit_lab.serving.limits import Limits

BODY_BYTES_PER_SECOND = 4096  # a body that comes faster may take longer than `receive_seconds`
MAX_FRAMING_FACTOR = 16  # bytes that a chunked body may take per byte of content; 6 for one of 1
LINGER_SECONDS = 2.0  # that the rest of a rejected body is read, so that the client sees the answer
_OTHER_CODING = HttpError(
    501, "unsupported_transfer_encoding", "the body expects the transfer-encoding chunked alone"
)
_LONG_FRAMING = HttpError(
    400, "bad_request", "the chunk extensions or trailers of the body are too long: leave them out"
)


class BoundedHttp(HttpToolsProtocol):
    """One connection: each request arrives in time, within the app's limits.

    A late request is answered with 408, a large head with 431, and the connection is closed. One
    timer per connection checks it, and ends an idle one, at no cost per request.
    """

    # other classes than uvicorn's
    scope: Any
    cycle: Any
    pipeline: Any

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._limits = _limits_of(config.loaded_app)
        # uvicorn's proxy middleware changes requests with a proxy's headers alone
        behind = isinstance(self.app, ProxyHeadersMiddleware)
        self._unproxied: Any = self.app.app if behind else self.app
        # an `App` may answer a whole request at once
        self._begin = getattr(self._unproxied, "begin_request", None)
        self._unstarted: Any = None  # the app that is to answer the request in progress
        self.app_state[BOUNDED_HEAD] = True
        self._since: float | None = None  # the time at which the request in progress began
        self._idle_since = self.loop.time()
        self._received = self._read = 0  # its bytes, and those of the last read
        self._content = self._framed = 0  # of a body: its bytes without and with those of chunks
        self._in_head = self._upgrades = self._is_refused = False
        self._refusal: HttpError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answering: Any = None  # a cycle; `cycle` is that of the last request
        self._default_headers: Any = None
        self._default_head = HeadLines(b"", None, False, False)

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._in_head = True
        self._check_later(min(self._limits.receive_seconds, self.timeout_keep_alive))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timer, and the request in progress."""
        if self._timer is not None:
            self._timer.cancel()
        last, self.cycle = self.cycle, None  # which uvicorn would disconnect itself
        super().connection_lost(exc)
        self.cycle = last
        for cycle in {last, self._answering} - {None}:
            cycle.disconnect()

    # The request

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that have arrived."""
        if self._is_refused:
            return
        if self._since is None:
            self._since = self.loop.time()
        self._read = len(data)
        self._received += self._read
        rest = None if self._in_head else self.cycle  # the request whose body goes on
        super().data_received(data)
        if (app := self._unstarted) is not None:
            self._unstarted = None
            if not self.transport.is_closing():
                self.start(self.cycle, app)
        # a whole head is measured once it is there; this bounds one that does not end
        if self._in_head and self._received > 2 * self._limits.header_bytes:
            self._refuse(_large_head(self._limits))
        elif rest is not None and rest is self.cycle and rest.more_body:
            self._check_framing()

    def on_message_begin(self) -> None:
        """Begin a head; the bytes of the read that it begins in count as its own."""
        super().on_message_begin()
        self._in_head = True
        self._received = max(self._received, self._read)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those behind a chunked body are none of the request (RFC 9110, 6.5.1)."""
        if self._in_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head, and let the app answer."""
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
        if len(names) < len(self.headers):
            self._check_once(b"host")
        if names.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
            self._refuse_head(_OTHER_CODING)
        app = self._unproxied
        if b"x-forwarded-for" in names or b"x-forwarded-proto" in names:
            app = self.app
        if self.limit_concurrency is not None and (
            max(len(self.connections), len(self.tasks)) >= self.limit_concurrency
        ):
            app = service_unavailable
            self.logger.warning("Exceeded concurrency limit.")
        before = self.cycle
        keep_alive = version != "1.0" and parser.should_keep_alive()
        expects_continue = names.get(b"expect", b"").lower() == b"100-continue"
        self.cycle = cycle = RequestCycle(self, scope, keep_alive, expects_continue)
        if before is None or before.response_complete:
            self._unstarted = app  # until its body is there, or known to come later
        else:  # the client sent it before the answer to another
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body to the app."""
        self._content += len(body)
        if not self._upgrades and not self.cycle.response_complete:
            self.cycle.feed(body)

    def on_message_complete(self) -> None:
        """End the wait: the request is whole."""
        self._since = None
        self._received = 0
        cycle = self.cycle
        if self._upgrades or cycle.response_complete:
            return
        cycle.more_body = False
        cycle.wake()
        if (app := self._unstarted) is not None:
            self._unstarted = None
            self._answering = cycle
            is_direct = app is self._unproxied and not self.flow.write_paused
            if not (is_direct and self._begin is not None and self._begin(cycle)):
                self.start(cycle, app)

    def start(self, cycle: RequestCycle, app: Any) -> None:
        """Let an app answer a request, in a task."""
        context = contextvars.Context() if self.config.reset_contextvars else None
        self._answering = cycle
        cycle.task = task = self.loop.create_task(cycle.run(app), context=context)
        self.tasks.add(task)

    # The response

    def default_head(self) -> HeadLines:
        """Return the headers of every response, which uvicorn makes each second."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_head, self._default_headers = head_lines(headers), headers
        return self._default_head

    def on_response_start(self, cycle: RequestCycle, status: int) -> None:
        """Log the access as uvicorn does, where its access log is on."""
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
        """Answer the next request, and read the rest of an unneeded body for a short time only."""
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
        """Refuse a request that is no HTTP, or whose head is too large."""
        self._refuse(self._refusal or HttpError(400, "bad_request", "the request is not HTTP/1.1"))

    def _refuse_head(self, error: HttpError) -> None:
        self._refusal = error
        raise ValueError  # httptools reports it as an error of the request

    def _check_once(self, name: bytes) -> None:
        """Refuse a head that has a header twice: two readers of it may choose different ones."""
        if sum(each == name for each, _ in self.headers) > 1:
            shown = name.decode().title()
            message = f"the request has the header {shown} more than once"
            self._refuse_head(HttpError(400, "bad_request", message))

    def _check_framing(self) -> None:
        """Refuse a body whose chunk extensions or trailers go on: no other limit counts them."""
        self._framed += self._read
        allowed = 2 * self._limits.header_bytes + MAX_FRAMING_FACTOR * self._content
        if self._framed > allowed:
            self._refuse(_LONG_FRAMING)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _check(self) -> None:
        """Refuse a request that is late, or check again when it could be."""
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
        if self.flow.read_paused or busy:  # this server reads nothing yet: the client is not late
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
        """Answer a request that the app does not see, and close the connection."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:  # whole requests before this one have their answers first
                cycle.keep_alive = False
                self._is_refused = True
                return
            if cycle.response_started:
                self.transport.abort()
                return
            cycle.disconnect()  # the app answers no more
        body = error_body(error, token_hex(8))
        length = b"content-length: %d\r\n" % len(body)
        head = STATUS_LINE[error.status] + b"content-type: application/json\r\n" + length
        self.transport.write(head + b"connection: close\r\n\r\n" + body)
        self.transport.close()


@lru_cache(maxsize=256)
def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path of a request's target, its bytes, and the query."""
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.path, parsed.query or b""


def _large_head(limits: Limits) -> HttpError:
    most = f"{limits.header_count} headers or {limits.header_bytes} bytes"
    return HttpError(431, "head_too_large", f"the head of the request has more than {most}")


def _limits_of(app: Any) -> Limits:
    """Return the limits of an app that middleware may be wrapped around."""
    while app is not None:
        limits = getattr(app, "limits", None)
        if isinstance(limits, Limits):
            return limits
        app = getattr(app, "app", None)
    return Limits.from_environment()
