"""DirectRequest: a complete request that is answered without a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from starlette.types import ASGIApp, Scope

from conduit_lab.serving.answer import Answer
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.context import RequestContext
from conduit_lab.serving.gate.deadline import late_start
from conduit_lab.serving.gate.origins import origin_headers
from conduit_lab.serving.gate.request_cycle import RequestCycle, head_lines

# the headers that `RequestContext.send` would write
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


def answer_whole(
    cycle: RequestCycle,
    context: RequestContext,
    body: bytes,
    more: bytes = b"",
    status: int = 200,
    about: bytes = JSON_LINE,
) -> None:
    """Send a complete response, like `DirectRequest.answer`, which also ends the request."""
    context.status, context.answered_at = status, monotonic()
    lines = _HEAD % (about, len(body), more, context.id.encode())
    if context.origin is not None:
        lines += head_lines(origin_headers(context.origin)).lines
    cycle.answer(status, lines, body)


class DirectRequest:
    """One request behind the gate; it ends with exactly one call of `answer`, `fail` or `go_on`.

    A task with its context and future would take a third of the time of a small prediction.
    """

    __slots__ = ("_cycle", "_gate", "_seconds", "_withdraw", "context", "scope")

    def __init__(self, gate: _Gate, context: RequestContext, cycle: RequestCycle) -> None:
        self._gate = gate
        self._cycle = cycle
        self.context = context
        self.scope = cycle.scope
        self._withdraw: Callable[[BaseException], None] | None = None
        self._seconds = 0.0  # of the deadline

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
        if self._withdraw is not None:
            self._stop_waiting()
        if status == 200 and self.context.is_late:
            self.fail(late_start(self.context.app.limits.deadline or 0.0))
            return
        answer_whole(self._cycle, self.context, body, more, status, about)
        self._gate.end(self.context, self.scope)

    def fail(self, error: BaseException) -> None:
        """Send the error response to an exception of the endpoint."""
        answer = self._gate.error_answer(error, self.context, self.scope)
        if answer is not None:
            self.answer(answer.body, head_lines(answer.headers).lines, answer.status)

    def go_on(self, face: ASGIApp) -> None:
        """Run `face` on the request in a task."""
        if self._withdraw is not None:
            self._stop_waiting()
        self._cycle.start(self._gate.going_on(face, self.context))

    def wait(self, withdraw: Callable[[BaseException], None]) -> None:
        """Wait for the answer to a call; `answer`, `fail` or `go_on` may end the request as well.

        If the client disconnects or the deadline passes, `withdraw` is called with the error that a
        task would see, and the request ends.
        """
        self._withdraw = withdraw
        self._cycle.departure = self._leave
        seconds = self.context.app.limits.deadline
        if seconds is not None:
            self._seconds, due = seconds, self.context.begun_at + seconds
            if due > monotonic():
                self.context.server.deadlines.add(self, due)
            else:  # the handler took that long
                self.expire()

    def expire(self) -> None:
        """Answer with a 504: the deadline has passed."""
        self._give_up(asyncio.CancelledError("deadline exceeded"), late_start(self._seconds))

    def _leave(self) -> None:
        error = HttpError(
            499, "client_left", "the client disconnected before the answer was complete"
        )
        self._give_up(error, error)

    def _give_up(self, error: BaseException, answer: HttpError) -> None:
        if (withdraw := self._withdraw) is not None:  # else it was answered a moment ago
            withdraw(error)
            self.fail(answer)

    def _stop_waiting(self) -> None:
        self._withdraw = self._cycle.departure = None
        if self._seconds:
            self.context.server.deadlines.drop(self)
