"""RequestContext: one HTTP request as the gate and the faces share it."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from secrets import token_hex
from time import monotonic
from typing import cast

import anyio
import anyio.lowlevel
from starlette.types import Message, Scope, Send

from conduit_lab.serving.endpoint import EndpointHost

_SCOPE_KEY = "conduit_lab"


class RequestContext:
    """One HTTP request: its ID, its app, and its start in seconds of the monotonic clock.

    `started` says whether its answer has begun. `start_scope` is cancelled where that takes too
    long; it is None without a deadline.
    """

    __slots__ = ("_send", "app", "begun_at", "id", "start_scope", "started")

    def __init__(self, app: EndpointHost, scope: Scope, send: Send) -> None:
        self.app = app
        self.id = token_hex(8)
        self.begun_at = monotonic()
        self.started = False
        self.start_scope: anyio.CancelScope | None = None
        self._send = send
        scope[_SCOPE_KEY] = self

    def send(self, message: Message) -> Awaitable[None]:
        """Send one ASGI message; the one that starts the answer gets the request ID as a header."""
        if message["type"] == "http.response.start":
            if self.start_scope is not None:
                if self.start_scope.cancel_called:
                    return anyio.lowlevel.checkpoint()  # raises: a 504 is sent instead
                self.start_scope.deadline = math.inf
            self.started = True
            request_id = (b"x-request-id", self.id.encode())
            message["headers"] = [*message.get("headers", ()), request_id]
        return self._send(message)


def context_of(scope: Scope) -> RequestContext:
    """Return the context that the gate has put into an ASGI scope."""
    return cast(RequestContext, scope[_SCOPE_KEY])
