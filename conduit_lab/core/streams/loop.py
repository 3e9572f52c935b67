"""The event loops that run async generators: the package's own, or a server's for its endpoints.

The package's loop runs on a daemon thread started on first use. It is never the caller's loop: a
notebook cell that blocks or ends does not stop its tasks.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from concurrent.futures import Future
from contextvars import ContextVar

from conduit_lab.core.forking import in_forked_child

_EXIT_SECONDS = 2.0  # a task that blocks the loop may delay the process's exit by this much

# the loop of the async generator running here
producer_loop: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar(
    "conduit_lab_producer_loop", default=None
)
_chosen: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar(
    "conduit_lab_chosen_loop", default=None
)
_lock = threading.Lock()
_running: asyncio.AbstractEventLoop | None = None


class ProducingHere:
    """A block whose streams run their async generators on the running loop.

    Streams created by such a generator run on the package's loop again.
    """

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _chosen.set(asyncio.get_running_loop())

    def __exit__(self, *error: object) -> None:
        _chosen.reset(self._token)


def loop_for_producer() -> asyncio.AbstractEventLoop:
    """Return the loop on which a new stream's async generator should run."""
    return _chosen.get() or package_loop()


def is_loop_chosen() -> bool:
    """Return whether streams created here belong to the server of the running loop."""
    return _chosen.get() is not None


def begin_producer(loop: asyncio.AbstractEventLoop | None) -> None:
    """Record in this context that a generator runs on `loop`, or on a thread."""
    producer_loop.set(loop)
    _chosen.set(None)


def package_loop() -> asyncio.AbstractEventLoop:
    """Return the package's loop, starting it if necessary; thread-safe."""
    global _running
    with _lock:
        if _running is None:
            started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
            thread = threading.Thread(
                target=_run, args=(started,), name="conduit_lab loop", daemon=True
            )
            thread.start()
            _running, stop = started.result()
            # cancel the remaining tasks while the interpreter still runs threads
            atexit.register(_end, _running, stop, thread)
        return _running


def _run(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    async def live() -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    asyncio.run(live())  # cancels the remaining tasks when `live` ends


def _end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    if loop is _running:  # false in a forked child, which does not have the thread
        loop.call_soon_threadsafe(stop.set)
        thread.join(_EXIT_SECONDS)


def _reset() -> None:
    """In a forked child, where only the forking thread survives, start a new loop on next use."""
    global _lock, _running
    _lock, _running = threading.Lock(), None


in_forked_child(_reset)
