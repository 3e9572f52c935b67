"""The package's own event loop, on a daemon thread that starts at its first use.

It is never the caller's loop: a notebook cell that blocks or ends does not stop what runs here.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from concurrent.futures import Future

_EXIT_SECONDS = 2.0  # a task that blocks the loop holds the exit of the process up no longer
_lock = threading.Lock()
_running: asyncio.AbstractEventLoop | None = None


def package_loop() -> asyncio.AbstractEventLoop:
    """Return the loop; may be called from any thread, the loop's own included."""
    global _running
    with _lock:
        if _running is None:
            started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
            thread = threading.Thread(
                target=_run, args=(started,), name="conduit_lab loop", daemon=True
            )
            thread.start()
            _running, stop = started.result()
            # what still runs at the exit is cancelled while there are threads to do it
            atexit.register(_end, _running, stop, thread)
        return _running


def _run(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    async def live() -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    asyncio.run(live())  # cancels the tasks that are left when `live` ends


def _end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    if loop is _running:  # not in a forked child, which has no such thread
        loop.call_soon_threadsafe(stop.set)
        thread.join(_EXIT_SECONDS)


def _forget() -> None:
    """Let a forked child, where only the forking thread lives on, start a loop of its own."""
    global _lock, _running
    _lock, _running = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
