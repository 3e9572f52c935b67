"""Deadlines for runs: a graph that takes too long is cut, by one thread that lives while something is watched."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic
from typing import Any

_LINGER = (
    1.0  # seconds the watching thread outlives the last run: calls in a row do not start one each
)

_numbers = count()
_running: dict[int, tuple[float, Any]] = {}
_changed = threading.Condition()
_thread: threading.Thread | None = None
_wakes_at = 0.0


@contextmanager
def cut_after(seconds: float, run_options: Any) -> Iterator[None]:
    """Set `terminate` of onnxruntime's `run_options` when the block takes longer than `seconds`."""
    global _thread
    number, ends_at = next(_numbers), monotonic() + seconds
    _running[number] = (ends_at, run_options)
    if _thread is None or ends_at < _wakes_at:
        with _changed:
            if _thread is None:
                _thread = threading.Thread(target=_watch, name="conduit_lab deadlines", daemon=True)
                _thread.start()
            _changed.notify()
    try:
        yield
    finally:
        del _running[number]


def _watch() -> None:
    global _thread, _wakes_at
    idle_since = monotonic()
    with _changed:
        while True:
            now = monotonic()
            ends = list(_running.values())
            for ends_at, run_options in ends:
                if ends_at <= now:
                    run_options.terminate = True
            if ends:
                idle_since = now
            elif now - idle_since >= _LINGER:
                _thread = None
                if not _running:  # a run that began just now saw this thread and started none
                    return
                _thread = threading.current_thread()
            later = [ends_at - now for ends_at, _ in ends if ends_at > now]
            wait = min([_LINGER, *later])
            _wakes_at = now + wait
            _changed.wait(wait)


def _forget() -> None:
    """Start anew in a forked child, where the watching thread does not live on."""
    global _changed, _thread
    _changed, _thread = threading.Condition(), None
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
