"""RunTimes: measured seconds per run by number of rows, and the runs that count as short."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import inf
from time import perf_counter
from typing import TypeVar

from conduit_lab.core.occupancy import occupied_seconds, usage

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

# CPU time; a shorter run stays on its thread: a thread hop and back costs 50-200 µs
SHORT_RUN_SECONDS = 500e-6
# added per call of a batch on an event loop, which spends this long on the rest of each call
EXTRA_CALL_SECONDS = 20e-6
# of short runs; then one is measured, and a task that never waits yields to others
INLINE_BUDGET_SECONDS = 2e-3
_MIN_RUN_SECONDS = INLINE_BUDGET_SECONDS / 256  # a budget covers at most 256 runs
# off the CPU: longer than a wait for the GIL, so a device was busy
_BLOCKED_SECONDS = 10e-3

# Windows counts a thread's CPU time in steps of 15 ms
_resolution = time.get_clock_info("thread_time").resolution
cpu_time = time.thread_time if _resolution < SHORT_RUN_SECONDS else perf_counter


class RunTimes:
    """Seconds per run, by `rows.bit_length()`; a size not yet measured counts as long."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = [inf] * 64

    def measured(
        self, run: Callable[[Sequence[_Item]], Sequence[_Answer]], items: Sequence[_Item], rows: int
    ) -> Sequence[_Answer]:
        """Run, and update the estimate for runs of this size."""
        before, begun, cpu = usage(), perf_counter(), cpu_time()
        answers = run(items)
        self.record(rows, cpu_time() - cpu, occupied_seconds(begun, before))
        return answers

    def record(self, rows: int, cpu: float, seconds: float) -> None:
        """Update the estimate for runs of this size; `seconds` are `occupied_seconds`.

        The estimate is the thread's CPU time, which other work does not affect; onnxruntime's
        threads share the work evenly with it. If the thread waits for a device, its wait counts
        too.
        """
        spent = seconds if seconds - cpu > _BLOCKED_SECONDS else cpu
        size = rows.bit_length()
        known = self.seconds[size]
        self.seconds[size] = max(
            _MIN_RUN_SECONDS, spent if known == inf else known + (spent - known) / 4
        )

    def by_rows(self) -> dict[int, float]:
        """Return the seconds by rows: key 2 covers 2 and 3 rows, key 4 covers 4 to 7."""
        sizes = enumerate(self.seconds[1:])
        return {2**power: seconds for power, seconds in sizes if seconds < inf}

    def are_short(self, rows: int, calls: int) -> bool:
        """Return whether a run of this many calls of an event loop should stay on its thread."""
        return self.seconds[rows.bit_length()] < SHORT_RUN_SECONDS + EXTRA_CALL_SECONDS * calls
