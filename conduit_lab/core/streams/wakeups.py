"""Wakeups: the waiters of a stream, in threads and event loops, and their notification.

A waiter adds its wakeup and then checks its condition again; a producer changes the state first and
notifies afterwards. In either order one of the two sees the other, so no wakeup is lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep

FAST_SECONDS = 1e-3  # between two checks while the producer is fast
_SLICE_SECONDS = 0.2  # of a blocking wait, after which a kernel interrupt is handled

_Ready = Callable[[], bool]


class Wakeups:
    """The wakeup callbacks of all waiters for one event, in `waiters`.

    While the producer sets `fast`, a waiter sleeps for `FAST_SECONDS` and checks again before
    requesting a wakeup: for both sides, a wakeup costs more than a chunk. The last chunk before a
    pause therefore arrives within that time.
    """

    __slots__ = ("fast", "waiters")

    def __init__(self) -> None:
        self.fast = False
        self.waiters: deque[Callable[[], object]] = deque()

    def notify(self) -> None:
        """Wake all waiters; thread-safe."""
        with suppress(IndexError):
            while True:
                self.waiters.popleft()()

    def discard(self, wakeup: Callable[[], object]) -> None:
        """Remove a wakeup that is no longer needed; a no-op if it was already called."""
        with suppress(ValueError):
            self.waiters.remove(wakeup)


def block_until(wakeups: Wakeups, ready: _Ready, deadline: float | None = None) -> bool:
    """Block this thread until `ready()`; False once the monotonic clock reaches `deadline`."""
    while not ready():
        if wakeups.fast:
            sleep(FAST_SECONDS)
            if ready():
                break
        signal = threading.Lock()
        signal.acquire()
        wakeups.waiters.append(signal.release)
        notified = False
        try:
            while not notified and not ready():
                left = _SLICE_SECONDS
                if deadline is not None:
                    left = min(left, deadline - monotonic())
                if left <= 0:
                    return False
                notified = signal.acquire(timeout=left)
        finally:
            if not notified:
                wakeups.discard(signal.release)
    return True


async def wait_until(ready: _Ready, *wakeups: Wakeups) -> None:
    """Suspend this task until `ready()`, checked whenever one of `wakeups` notifies."""
    await Waiter().wait(ready, *wakeups)


class Waiter:
    """A task that waits repeatedly on the loop where it was created; call it to wake the task."""

    __slots__ = ("_notifier", "_woken")

    def __init__(self) -> None:
        self._notifier = _loop_notifier()
        self._woken: asyncio.Future[None] | None = None

    def __call__(self) -> None:
        """Make the task check its condition again."""
        self._notifier.notify(self)

    async def wait(self, ready: _Ready, *wakeups: Wakeups) -> None:
        """Suspend the task until `ready()`, checked when one of `wakeups` notifies."""
        while not ready():
            fast = False
            for each in wakeups:
                fast = fast or each.fast
            if fast:
                await asyncio.sleep(FAST_SECONDS)
                if ready():
                    break
            self._woken = woken = self._notifier.loop.create_future()
            for each in wakeups:
                each.waiters.append(self)
            try:
                if not ready():
                    await woken
            finally:
                self._woken = None
                for each in wakeups:
                    if self in each.waiters:  # another one notified, or the wait was cancelled
                        each.discard(self)

    def resume(self) -> None:
        """Resume the task; on its loop."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


class _LoopNotifier:
    """Cross-thread notification of an event loop: one call per tick for all waiters."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._thread = threading.get_ident()
        self._scheduled = False
        self._notified: deque[Waiter] = deque()

    def notify(self, waiter: Waiter) -> None:
        """Wake a waiter on its loop; a no-op once that loop, and thus its task, has ended."""
        self._notified.append(waiter)
        if self._scheduled:
            return
        self._scheduled = True
        with suppress(RuntimeError):
            if threading.get_ident() == self._thread:
                self.loop.call_soon(self._resume_all)
            else:
                self.loop.call_soon_threadsafe(self._resume_all)

    def _resume_all(self) -> None:
        self._scheduled = False  # first: a waiter added from now on schedules another call
        while self._notified:
            self._notified.popleft().resume()


_of_thread = threading.local()


def _loop_notifier() -> _LoopNotifier:
    """Return the notifier of the running loop."""
    loop = asyncio.get_running_loop()
    notifier: _LoopNotifier | None = getattr(_of_thread, "notifier", None)
    if notifier is None or notifier.loop is not loop:
        notifier = _of_thread.notifier = _LoopNotifier(loop)
    return notifier
