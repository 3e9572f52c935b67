"""Worker: a thread that runs the newest job of each kind and skips older ones."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_IDLE_WAIT_SECONDS = 5.0  # the thread then exits; the next job starts another

_log = logging.getLogger(__name__)


class NewestJobs:
    """Runs jobs on one daemon thread, in the order in which their kinds were first submitted.

    A pending job is replaced by a newer one of its kind. Thread-safe.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: dict[str, Callable[[], None]] = {}  # guarded by _given
        self._given = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def give(self, kind: str, job: Callable[[], None]) -> None:
        """Run `job` soon, replacing a pending job of this kind."""
        with self._given:
            if self._closed:
                return
            self._jobs[kind] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._given.notify()

    def close(self) -> None:
        """Drop all pending jobs."""
        with self._given:
            self._closed = True
            self._jobs.clear()
            self._given.notify()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception:  # later jobs must still run
                _log.exception("a job of %s failed", self._name)

    def _next(self) -> Callable[[], None] | None:
        """Return the next job; if none arrives for a while, end the thread."""
        with self._given:
            if not self._jobs and not self._closed:
                self._given.wait(_IDLE_WAIT_SECONDS)
            if not self._jobs:
                self._thread = None
                return None
            kind = next(iter(self._jobs))
            return self._jobs.pop(kind)
