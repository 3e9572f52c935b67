"""HandlerThreads: the worker threads of handlers, and the bound on those that nobody awaits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import anyio.to_thread

from conduit_lab.core.forking import free_in_child
from conduit_lab.core.streams.ownership import CallScope
from conduit_lab.serving.errors import HttpError

MAX_ABANDONED_THREADS = 64  # per app

_Result = TypeVar("_Result")


class HandlerThreads:
    """Runs functions on worker threads; a caller that is cancelled leaves its thread running.

    Streams and generations that were begun inside an abandoned call end. A function that runs on
    keeps its thread, which nothing can stop: with `MAX_ABANDONED_THREADS` of them a further call is
    a 503.
    """

    def __init__(self) -> None:
        self._abandoned = 0  # guarded by _lock, like the flags of the jobs
        self._lock = threading.Lock()
        free_in_child(self, "_lock")

    @property
    def abandoned(self) -> int:
        """The threads that run for nobody."""
        return self._abandoned

    async def run(self, function: Callable[..., _Result], *args: Any) -> _Result:
        """Return `function(*args)`, called on a worker thread."""
        if self._abandoned >= MAX_ABANDONED_THREADS:
            raise HttpError(
                503,
                "overloaded",
                "too many calls run on past their deadline or without their client: "
                "try again later",
                {"retry-after": "1"},
            )
        job = _Job()
        try:
            with CallScope():
                return await anyio.to_thread.run_sync(
                    self._run, job, function, args, abandon_on_cancel=True
                )
        except BaseException:
            with self._lock:
                if job.is_running:
                    job.is_abandoned = True
                    self._abandoned += 1
            raise

    def _run(self, job: _Job, function: Callable[..., _Result], args: tuple[Any, ...]) -> _Result:
        job.is_running = True
        try:
            return function(*args)
        finally:
            with self._lock:
                job.is_running = False
                self._abandoned -= job.is_abandoned


class _Job:
    """One call, from its begin to its end on the thread."""

    __slots__ = ("is_abandoned", "is_running")

    def __init__(self) -> None:
        self.is_running = self.is_abandoned = False
