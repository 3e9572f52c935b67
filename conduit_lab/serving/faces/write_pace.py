"""Write pace: the interval between writes to each client of an event loop.

A write costs ten times as much as a chunk, so the more clients a loop has, the more chunks of a
fast stream share a write.
"""

from __future__ import annotations

import threading

# Of one loop to all its clients. benchmarks/serving_streams.py
WRITES_PER_SECOND = 2000
MIN_PAUSE_SECONDS = 2e-3
MAX_PAUSE_SECONDS = 33e-3  # two frames of a display: text still flows


def join_loop() -> None:
    """Count a client of the running loop."""
    _here.clients += 1


def leave_loop() -> None:
    """Uncount a client of the running loop."""
    _here.clients -= 1


def pause_seconds() -> float:
    """Return the minimum time between two writes to a client, from 2 to 33 ms."""
    return min(max(_here.clients / WRITES_PER_SECOND, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS)


class _Here(threading.local):
    """The number of clients of this thread's event loop."""

    clients = 0


_here = _Here()
