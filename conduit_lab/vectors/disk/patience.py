"""Deadline: a bounded wait for another process."""

from __future__ import annotations

import time
from pathlib import Path

from conduit_lab.vectors.disk.sqlite_errors import Busy

PATIENCE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.001, 0.05


class Deadline:
    """The end of a wait for another process; `pause` raises `Busy` once it has passed."""

    def __init__(self, path: Path | str, patience: float = PATIENCE_SECONDS) -> None:
        self._path = path
        self._until, self._pause = time.monotonic() + patience, _FIRST_PAUSE_SECONDS

    def pause(self) -> None:
        """Sleep, doubling the duration each time."""
        if time.monotonic() >= self._until:
            raise Busy(self._path)
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _MAX_PAUSE_SECONDS)
