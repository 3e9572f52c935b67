"""Background builds: codes or a graph built on a thread while searches continue without them."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Generic, Protocol, TypeVar

import numpy as np

from conduit_lab.core.progress import progress

_JOIN_SECONDS = 0.2  # between checks of the number of rows

_log = logging.getLogger(__name__)


class Buildable(Protocol):
    """A structure derived from an index's rows."""

    begin: int  # the first row

    def __len__(self) -> int:
        """Return the number of rows covered."""

    def extend(self, end: int, stop: threading.Event) -> None:
        """Add the rows up to `end`; return early when `stop` is set."""


M = TypeVar("M", bound=Buildable)


class BackgroundBuild(Generic[M]):
    """One build on a thread; `built` is set once it has succeeded.

    The thread reads only rows that existed when it started and writes only to its own structure.
    The caller updates rows that were replaced meanwhile.
    """

    def __init__(self, target: M, end: int, owner: object) -> None:
        self.begin, self.end = target.begin, end
        self._target = target
        self.built: M | None = None
        self.failed = False
        self.stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(target,), name="conduit-lab index", daemon=True
        )
        # A garbage-collected owner stops its build.
        self._owned = weakref.finalize(owner, self.stop.set)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the thread is running; always False in a forked child."""
        return self._thread.is_alive()

    def wait(self) -> None:
        """Wait for the thread to end."""
        with progress(self.end - self.begin, "row", "index") as job:
            waits = True
            while waits:
                self._thread.join(_JOIN_SECONDS)
                waits = self._thread.is_alive()
                job.reach(self._target.begin + len(self._target) - self.begin)

    def cancel(self) -> None:
        """Stop the thread within one slice of rows."""
        self.stop.set()
        self._thread.join()
        self.built = None

    def _run(self, target: M) -> None:
        try:
            with np.errstate(all="ignore"):  # a row replaced during a read is added again
                target.extend(self.end, self.stop)
        except Exception:  # searches are correct without it
            self.failed = True
            _log.exception(
                "building %s for %d rows failed: searches continue without it",
                type(target).__name__,
                self.end,
            )
            return
        finally:
            self._owned.detach()
        if not self.stop.is_set():
            self.built = target
