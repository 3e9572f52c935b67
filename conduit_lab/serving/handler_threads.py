"""HandlerThreads: worker threads for handlers, with a bound on abandoned ones."""

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
    """Runs functions on worker threads; cancelling the caller abandons the thread.

    Streams and generations started inside an abandoned call end. The function itself cannot be
    stopped and keeps its thread: with `MAX_ABANDONED_THREADS` of them, further calls get a 503.
    """

    def __init__(self) -> None:
        self._abandoned = 0  # guarded by _lock, like the flags of the jobs
        self._lock = threading.Lock()
        free_in_child(self, "_lock")

    @property
    def abandoned(self) -> int:
        """The number of abandoned threads."""
        return self._abandoned

    async def run(self, function: Callable[..., _Result], *args: Any) -> _Result:
        """Run `function(*args)` on a worker thread."""
        if self._abandoned >= MAX_ABANDONED_THREADS:
            raise HttpError(
                503,
                "overloaded",
                "too many calls are still running after their deadline or without a client: "
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
    """One call on a worker thread."""

    __slots__ = ("is_abandoned", "is_running")

    def __init__(self) -> None:
        self.is_running = self.is_abandoned = False
