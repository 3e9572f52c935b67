"""BoundedHttp: uvicorn's HTTP protocol with a deadline for requests to arrive and bounded heads.

uvicorn waits for the rest of a request for ever, and takes heads of any size. `Server` and
`conduit-lab serve` use this class; `uvicorn app:app` does with
`--http conduit_lab.serving.gate.http_protocol:BoundedHttp`.
"""

from __future__ import annotations

import asyncio
from secrets import token_hex
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from conduit_lab.serving.errors import HttpError, error_body
from conduit_lab.serving.gate.admission import BOUNDED_HEAD
from conduit_lab.serving.limits import Limits

BODY_BYTES_PER_SECOND = 4096  # a body that comes faster may take longer than `receive_seconds`
LINGER_SECONDS = 2.0  # that the rest of a rejected body is read, so that the client sees the answer


class BoundedHttp(HttpToolsProtocol):
    """One connection: each request arrives in time, within the app's limits.

    A late request is answered with 408, a large head with 431, and the connection is closed. One
    timer per connection checks it, at no cost per request.
    """

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._limits = _limits_of(config.loaded_app)
        self.app_state[BOUNDED_HEAD] = True
        self._since: float | None = None  # the time at which the request in progress began
        self._received = self._read = 0  # its bytes, and those of the last read
        self._in_head = False
        self._refusal: HttpError | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._in_head = True
        self._check_later(self._limits.receive_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timer."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that have arrived."""
        if self._since is None:
            self._since = self.loop.time()
        self._read = len(data)
        self._received += self._read
        super().data_received(data)
        # a whole head is measured once it is there; this bounds one that does not end
        if self._in_head and self._received > 2 * self._limits.header_bytes:
            self._refuse(_large_head(self._limits))

    def on_message_begin(self) -> None:
        """Begin a head; the bytes of the read that it begins in count as its own."""
        super().on_message_begin()
        self._in_head = True
        self._received = max(self._received, self._read)

    def on_headers_complete(self) -> None:
        """Check the head before the app sees the request."""
        limits = self._limits
        self._in_head = False
        if len(self.headers) > limits.header_count or (
            self._received > limits.header_bytes and self._head_bytes() > limits.header_bytes
        ):
            self._refusal = _large_head(limits)
            raise ValueError  # httptools reports it as an error of the request
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the wait: the request is whole."""
        self._since = None
        self._received = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Read the rest of a body that nobody needs for a short time only."""
        super().on_response_complete()
        if self._since is not None and not self.transport.is_closing():
            self.loop.call_later(LINGER_SECONDS, self._end_rest, self._since)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is no HTTP, or whose head is too large."""
        self._refuse(self._refusal or HttpError(400, "bad_request", "the request is not HTTP/1.1"))

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _check(self) -> None:
        """Refuse a request that is late, or check again when it could be."""
        if self.transport.is_closing():
            return
        limit, now = self._limits.receive_seconds, self.loop.time()
        if self._since is None:  # idle, or busy with an answer
            self._check_later(limit)
            return
        busy = self.cycle is not None and self.cycle.waiting_for_100_continue
        if self.flow.read_paused or busy:  # this server reads nothing yet: the client is not late
            self._since = now
        allowed = limit + (0 if self._in_head else self._received / BODY_BYTES_PER_SECOND)
        if now - self._since < allowed:
            self._check_later(self._since + allowed - now)
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
            if cycle.response_started or not cycle.more_body:  # the next answer is that of another
                self.transport.abort()
                return
            cycle.disconnected = True  # the app answers no more
            cycle.message_event.set()
        body = error_body(error, token_hex(8))
        length = b"content-length: %d\r\n" % len(body)
        head = STATUS_LINE[error.status] + b"content-type: application/json\r\n" + length
        self.transport.write(head + b"connection: close\r\n\r\n" + body)
        self.transport.close()


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
