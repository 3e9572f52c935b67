"""Flusher: the one thread that keeps every live view of the session up to date."""

from __future__ import annotations

import logging
import threading
from time import sleep
from typing import Protocol

# A page shows 60 frames/s, and the Jupyter server drops messages above 1,000/s.
FLUSH_SECONDS = 0.025

_log = logging.getLogger(__name__)


class Live(Protocol):
    """Something that a flusher keeps up to date."""

    def tick(self) -> bool:
        """Send the due updates; return False once there will be no more."""


class Flusher:
    """Calls `tick` of each added view every 25 ms until it returns False.

    One thread for all views, so that the number of messages depends on the views, not on their
    chunks. It runs only while there are views.
    """

    def __init__(self, period: float = FLUSH_SECONDS) -> None:
        self._period = period
        self._views: list[Live] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None

    def add(self, view: Live) -> None:
        """Keep `view` up to date from now on."""
        with self._lock:
            self._views.append(view)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="conduit_lab flusher", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while views := self._current():
            for view in views:
                if not _tick(view):
                    self._remove(view)
            sleep(self._period)

    def _current(self) -> list[Live]:
        """Return the views; without any, give up the thread under the lock that `add` takes."""
        with self._lock:
            if not self._views:
                self._thread = None
            return list(self._views)

    def _remove(self, view: Live) -> None:
        with self._lock:
            self._views.remove(view)


def _tick(view: Live) -> bool:
    try:
        return view.tick()
    except Exception:  # a chunk's own repr may raise, and the other views must go on
        _log.exception("a live view could not be updated and was given up")
        return False
