"""Deadlines of runs: one thread terminates overdue runs, and exits when no runs are left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from conduit_lab.core.errors import DeadlineExceeded
from conduit_lab.core.forking import in_forked_child
from conduit_lab.core.paths import display
from conduit_lab.runtime.hardware import devices

# the thread outlives the last run by this, so successive calls share it
_LINGER_SECONDS = 1.0

_numbers = count()
_running: dict[int, tuple[float, Any]] = {}  # deadline and run options; each change is atomic
_changed = threading.Condition()
_thread: threading.Thread | None = None
_wakes_at = 0.0


@contextmanager
def cut_after(seconds: float, path: Path) -> Iterator[Any]:
    """Yield onnxruntime's options for a run of the file at `path` that ends within `seconds`.

    Raises `DeadlineExceeded` if the run was terminated.
    """
    global _thread
    run_options = devices.onnxruntime().RunOptions()
    number, deadline = next(_numbers), monotonic() + seconds
    _running[number] = (deadline, run_options)
    if _thread is None or deadline < _wakes_at:
        with _changed:
            if _thread is None:
                _thread = threading.Thread(target=_watch, name="conduit_lab deadlines", daemon=True)
                _thread.start()
            _changed.notify()
    try:
        yield run_options
    except Exception as error:
        if not run_options.terminate:
            raise
        raise DeadlineExceeded(
            f"{display(path)} ran longer than {seconds:.3g} s and was terminated: "
            "give it a smaller input or a longer timeout="
        ) from error
    finally:
        del _running[number]


def _watch() -> None:
    global _thread, _wakes_at
    idle_since = monotonic()
    with _changed:
        while True:
            now = monotonic()
            runs = list(_running.values())
            for deadline, run_options in runs:
                if deadline <= now:
                    run_options.terminate = True
            if runs:
                idle_since = now
            elif now - idle_since >= _LINGER_SECONDS:
                _thread = None
                if not _running:  # a run started since then saw this thread and started no other
                    return
                _thread = threading.current_thread()
            later = [deadline - now for deadline, _ in runs if deadline > now]
            wait = min([_LINGER_SECONDS, *later])
            _wakes_at = now + wait
            _changed.wait(wait)


def _reset() -> None:
    """Start without runs and without a thread, which does not survive in a forked child."""
    global _changed, _thread
    _changed, _thread = threading.Condition(), None
    _running.clear()


in_forked_child(_reset)
