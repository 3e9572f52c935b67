"""Occupancy: how long a call occupies its thread, without the time that it was not scheduled."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Any

try:
    from resource import RUSAGE_THREAD, getrusage
except ImportError:  # only Linux counts the context switches of a thread

    def usage() -> Any:
        """Return None: nothing is known."""

else:
    usage = partial(getrusage, RUSAGE_THREAD)

CHECKED_SECONDS = 300e-6  # a shorter call counts with its wall time


def occupied_seconds(begun: float, before: Any) -> float:
    """Return the wall time of a call, or the CPU time of a long one that waited for nothing.

    `begun` is the `perf_counter` and `before` the `usage` at its start. A thread that sleeps, or
    waits for a file or a lock, switches voluntarily; one that other processes displace does not,
    and its call would take as long on any other thread.
    """
    wall = perf_counter() - begun
    if wall < CHECKED_SECONDS or before is None:
        return wall
    after = usage()
    if after.ru_nvcsw > before.ru_nvcsw:
        return wall
    cpu: float = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return min(wall, cpu)  # the kernel adds up to one of its ticks
