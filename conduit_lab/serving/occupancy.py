"""Occupancy: how long a call occupies its thread, without the time that it was not scheduled."""

from __future__ import annotations

from time import perf_counter
from typing import Any

try:
    import resource
except ImportError:  # Windows
    _SCOPE = None
else:
    _SCOPE = getattr(resource, "RUSAGE_THREAD", None)  # only Linux counts a thread's switches

CHECKED_SECONDS = 300e-6  # a shorter call counts with its wall time


class Occupancy:
    """A running call, from its creation on."""

    __slots__ = ("_begun", "_usage")

    def __init__(self) -> None:
        self._usage: Any = None if _SCOPE is None else resource.getrusage(_SCOPE)
        self._begun = perf_counter()

    def seconds(self) -> float:
        """Return the wall time so far, or the CPU time of a long call that waited for nothing.

        A thread that sleeps, or waits for a file or a lock, switches voluntarily; one that other
        processes displace does not, and its call would take as long on any other thread.
        """
        wall, before = perf_counter() - self._begun, self._usage
        if wall < CHECKED_SECONDS or _SCOPE is None:
            return wall
        after = resource.getrusage(_SCOPE)
        if after.ru_nvcsw > before.ru_nvcsw:
            return wall
        cpu: float = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return min(wall, cpu)  # the kernel adds up to one of its ticks
