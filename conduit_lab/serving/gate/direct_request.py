"""DirectRequest: a complete request that is answered without a task of its own."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from starlette.types import ASGIApp, Scope

from conduit_lab.serving.answer import Answer
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.context import RequestContext
from conduit_lab.serving.gate.request_cycle import RequestCycle, head_lines

# the headers that `send_value` and `RequestContext.send` would write
JSON_LINE = b"content-type: application/json\r\n"
_HEAD = b"%bcontent-length: %d\r\n%bx-request-id: %b\r\n"


class _Gate(Protocol):
    """The gate that the request has passed."""

    def error_answer(
        self, error: BaseException, context: RequestContext, scope: Scope
    ) -> Answer | None:
        """Return the error response, or None if a response has already started."""

    def end(self, context: RequestContext, scope: Scope) -> None:
        """Record a finished request in the metrics and the access log."""

    def going_on(self, face: ASGIApp, context: RequestContext) -> ASGIApp:
        """Return an ASGI app that runs a face in a task."""


class DirectRequest:
    """One request behind the gate; it ends with exactly one call of `answer`, `fail` or `go_on`.

    A task with its context and future would take a third of the time of a small prediction.
    """

    __slots__ = ("_cycle", "_gate", "context", "scope")

    def __init__(self, gate: _Gate, context: RequestContext, cycle: RequestCycle) -> None:
        self._gate = gate
        self._cycle = cycle
        self.context = context
        self.scope = cycle.scope

    @property
    def connection(self) -> int:
        """The ID of its connection."""
        return id(self._cycle.transport)

    def answer(
        self, body: bytes, more: bytes = b"", status: int = 200, about: bytes = JSON_LINE
    ) -> None:
        """Send the response, with `more` header lines; a no-op after a disconnect.

        `about` holds the content type header line.
        """
        context, cycle = self.context, self._cycle
        cycle.departure = None
        context.status, context.answered_at = status, monotonic()
        lines = _HEAD % (about, len(body), more, context.id.encode())
        cycle.answer(status, lines, body)
        self._gate.end(context, self.scope)

    def fail(self, error: BaseException) -> None:
        """Send the error response to an exception of the endpoint."""
        answer = self._gate.error_answer(error, self.context, self.scope)
        if answer is not None:
            self.answer(answer.body, head_lines(answer.headers).lines, answer.status)

    def go_on(self, face: ASGIApp) -> None:
        """Run `face` on the request in a task."""
        self._cycle.departure = None
        self._cycle.start(self._gate.going_on(face, self.context))

    def withdraw_with(self, withdraw: Callable[[], None]) -> None:
        """Call `withdraw` if the client disconnects, and end the request."""

        def leave() -> None:
            withdraw()
            message = "the client disconnected before the answer was complete"
            self.fail(HttpError(499, "client_left", message))

        self._cycle.departure = leave
