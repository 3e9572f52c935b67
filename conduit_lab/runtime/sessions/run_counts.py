"""RunCounts: how often a session ran, with how many samples, and for how long."""

from __future__ import annotations

import threading
from collections import deque

BATCH_BOUNDS = tuple(2**power for power in range(11))  # upper bounds, in samples per run

_MAX_ENDED_RUNS = 64  # before they are added up


class RunCounts:
    """The runs of one session: `calls`, their samples `rows`, `seconds`, and `batches` by size.

    `batches` has a count per bound of `BATCH_BOUNDS` and one for larger runs. A run takes no lock,
    which would add a fifth to a small run: `deque.append` is atomic, `+=` is not.
    """

    def __init__(self) -> None:
        self._ended: deque[tuple[int, float]] = deque()  # rows and seconds, not yet in the sums
        self._calls = self._rows = 0
        self._seconds = 0.0
        self._batches = [0] * (len(BATCH_BOUNDS) + 1)
        self._counting = threading.Lock()  # guards the sums

    def abandon_lock(self) -> None:
        """Replace the lock in a forked child: another thread may have held it."""
        self._counting = threading.Lock()

    def count(self, rows: int, seconds: float) -> None:
        """Add a run to the statistics."""
        self._ended.append((rows, seconds))
        if len(self._ended) > _MAX_ENDED_RUNS:
            self._add_up()

    @property
    def calls(self) -> int:
        """The number of runs that ended."""
        self._add_up()
        return self._calls

    @property
    def rows(self) -> int:
        """The number of their samples."""
        self._add_up()
        return self._rows

    @property
    def seconds(self) -> float:
        """The sum of their times."""
        self._add_up()
        return self._seconds

    @property
    def batches(self) -> list[int]:
        """The number of runs by their size."""
        self._add_up()
        return list(self._batches)

    def _add_up(self) -> None:
        """Move the runs that have ended into the sums."""
        with self._counting:
            pop = self._ended.popleft
            for _ in range(len(self._ended)):
                rows, seconds = pop()
                self._calls += 1
                self._rows += rows
                self._seconds += seconds
                self._batches[min(max(rows - 1, 0).bit_length(), len(BATCH_BOUNDS))] += 1
