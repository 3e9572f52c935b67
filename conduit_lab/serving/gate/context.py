"""RequestContext: the state of one HTTP request that the gate and the faces share."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping
from itertools import count
from secrets import token_hex
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel

from conduit_lab.core.forking import in_forked_child
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import ErrorBody, error_body
from conduit_lab.serving.gate.keys import Key
from conduit_lab.serving.gate.origins import origin_headers
from conduit_lab.serving.gate.slots import Slots
from conduit_lab.serving.server_state import ServerState

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

    from conduit_lab.serving.gate.request_cycle import RequestCycle

_SCOPE_KEY = "conduit_lab"
_request_numbers = count()
_prefix = token_hex(4)  # of this process


def _new_prefix() -> None:
    """Use another prefix in a forked worker, whose counter continues from its parent's."""
    global _prefix
    _prefix = token_hex(4)


in_forked_child(_new_prefix)


class RequestContext:
    """One HTTP request: its ID, app, server and monotonic start time.

    The ID is unique, but not secret. `template` is the path template of the matching route, empty
    if no route matches. `status` is the response status, 0 until the response has `started`, at
    `answered_at`. `error_body` formats error responses. `start_scope` is cancelled if the response
    misses its deadline; None without one. `prompt_tokens` and `generated_tokens` are charged to
    `caller`, which is None for an app without keys. `slots` is the server's, if the request holds a
    slot; a stream (`is_stream`) holds none. `origin` is an allowed cross-site origin. `headers`
    maps names to values, the last of repeated ones, without credentials. `cycle` is the
    connection's, if the request came from it directly.
    """

    # class attributes, since most requests change few of them
    status = 0
    answered_at = 0.0
    template = ""
    prompt_tokens = generated_tokens = 0
    caller: Key | None = None
    slots: Slots | None = None
    is_stream = False
    origin: bytes | None = None
    start_scope: anyio.CancelScope | None = None
    cycle: RequestCycle | None = None
    error_body: ErrorBody = staticmethod(error_body)
    headers: Mapping[bytes, bytes] = MappingProxyType({})

    def __init__(self, app: EndpointHost, server: ServerState, scope: Scope, send: Send) -> None:
        self.app = app
        self.server = server
        self.id = f"{_prefix}{next(_request_numbers):08x}"
        self.begun_at = monotonic()
        self._send = send
        scope[_SCOPE_KEY] = self

    @property
    def started(self) -> bool:
        """Whether the response has started."""
        return self.status > 0

    @property
    def is_late(self) -> bool:
        """Whether the deadline for the start of the response has passed."""
        seconds = self.app.limits.deadline
        return seconds is not None and monotonic() > self.begun_at + seconds

    def count_tokens(self, prompt: int, generated: int) -> None:
        """Add tokens to this request, for the usage and quota of its caller."""
        self.prompt_tokens += prompt
        self.generated_tokens += generated

    def send(self, message: Message) -> Awaitable[None]:
        """Send one ASGI message; add the request ID to the response headers."""
        if message["type"] == "http.response.start":
            if self.start_scope is not None:
                if self.is_late:  # a handler on the event loop has delayed the scope's own timer
                    self.start_scope.cancel()
                if self.start_scope.cancel_called:
                    return anyio.lowlevel.checkpoint()  # raises: a 504 is sent instead
                self.start_scope.deadline = math.inf
            self.status = message["status"]
            self.answered_at = monotonic()
            request_id = (b"x-request-id", self.id.encode())
            message["headers"] = [*message.get("headers", ()), request_id]
            if self.origin is not None:
                message["headers"] += origin_headers(self.origin)
        return self._send(message)


def context_of(scope: Scope) -> RequestContext:
    """Return the context that the gate stored in an ASGI scope."""
    return cast(RequestContext, scope[_SCOPE_KEY])
