"""Write pace: how often the clients of one event loop are written to.

A write costs ten times what a chunk does, so the more clients a loop has, the more chunks of a fast
stream share a write.
"""

from __future__ import annotations

import threading

# Of a loop's writes to all its clients. benchmarks/serving_streams.py
WRITES_PER_SECOND = 2000
MIN_PAUSE_SECONDS = 2e-3
MAX_PAUSE_SECONDS = 33e-3  # two frames of a display: text still flows


def join_loop() -> None:
    """Count a client of the running loop."""
    _here.clients += 1


def leave_loop() -> None:
    """Count a client of the running loop no longer."""
    _here.clients -= 1


def pause_seconds() -> float:
    """Return how long after a write to a client the next one is due, from 2 to 33 ms."""
    return min(max(_here.clients / WRITES_PER_SECOND, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS)


class _Here(threading.local):
    """The clients of the loop of this thread."""

    clients = 0


_here = _Here()
