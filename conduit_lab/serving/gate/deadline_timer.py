"""The timer of requests that wait for their answers without a task."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import Protocol


class Expiring(Protocol):
    """A request that waits for its answer without a task."""

    def expire(self) -> None:
        """Answer with a 504, unless the request was answered."""


class Deadlines:
    """The deadlines of requests that wait without a task, with one timer per server.

    A timer per request would be most of the cost of a deadline. Used only by the server's event
    loop.
    """

    __slots__ = ("_due", "_next", "_timer")

    def __init__(self) -> None:
        self._due: dict[Expiring, float] = {}  # times of the monotonic clock
        self._next = inf  # the time of the timer
        self._timer: asyncio.TimerHandle | None = None

    def add(self, request: Expiring, due: float) -> None:
        """Expire a request at `due` unless it is dropped first."""
        self._due[request] = due
        if due < self._next:
            self._arm(due)

    def drop(self, request: Expiring) -> None:
        """Remove a request; the timer stays, for the requests that follow."""
        self._due.pop(request, None)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = due
        self._timer = asyncio.get_running_loop().call_later(due - monotonic(), self._check)

    def _check(self) -> None:
        """Expire the requests that are due, and set the timer for the next one."""
        self._timer, self._next = None, inf
        now, loop = monotonic(), asyncio.get_running_loop()
        for request in [request for request, due in self._due.items() if due <= now]:
            del self._due[request]
            loop.call_soon(
                request.expire
            )  # in its own callback: an exception must not affect the others
        if self._due:
            self._arm(min(self._due.values()))
