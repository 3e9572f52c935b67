"""RequestContext: one HTTP request as the gate and the faces share it."""

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

_SCOPE_KEY = "conduit_lab"
_request_numbers = count()
_prefix = token_hex(4)  # of this process


def _new_prefix() -> None:
    """Take another prefix in a forked worker, whose numbers begin where its parent's were."""
    global _prefix
    _prefix = token_hex(4)


in_forked_child(_new_prefix)


class RequestContext:
    """One HTTP request: its ID, its app and server, its start in seconds of the monotonic clock.

    The ID is unique, and not secret. `template` is the path of the route that answers, without the
    values of its parameters, empty where there is none. `status` is that of its answer, 0 until
    that has `started`, at `answered_at`. `error_body` writes its error answers. `start_scope` is
    cancelled where the answer does not start in time; it is None without a deadline.
    `prompt_tokens` and `generated_tokens` are counted for its `caller`, which is None for an app
    without keys. It holds a place in the `slots` of its server, unless it `is_stream`. `origin` is
    that of a page of another site, where allowed. `headers` are those of the request by name, the
    last one of each, without the key.
    """

    # on the class, since most requests change few of them
    status = 0
    answered_at = 0.0
    template = ""
    prompt_tokens = generated_tokens = 0
    caller: Key | None = None
    slots: Slots | None = None
    is_stream = False
    origin: bytes | None = None
    start_scope: anyio.CancelScope | None = None
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
        """Whether the answer has begun."""
        return self.status > 0

    def count_tokens(self, prompt: int, generated: int) -> None:
        """Count tokens of this request, for the usage and the quota of its caller."""
        self.prompt_tokens += prompt
        self.generated_tokens += generated

    def send(self, message: Message) -> Awaitable[None]:
        """Send one ASGI message; the one that starts the answer gets the request ID as a header."""
        if message["type"] == "http.response.start":
            if self.start_scope is not None:
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
    """Return the context that the gate has put into an ASGI scope."""
    return cast(RequestContext, scope[_SCOPE_KEY])
