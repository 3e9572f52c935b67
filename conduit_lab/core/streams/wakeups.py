"""Bells: who waits for a stream, in threads and in event loops, and how they are woken.

A waiter puts its wake-up call among the bells and then looks again; a producer first changes what
is looked at and then rings. Whichever order they meet in, one of the two sees the other.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep

PACE = 1e-3  # seconds between two wake-ups of one who waits for what comes fast
_SLICE = 0.2  # seconds a blocking wait may last before the kernel's interrupt is looked at

Ready = Callable[[], bool]


class Bells:
    """The wake-up calls of everybody who waits for one thing; `waiting` holds them.

    Where its producer says that chunks come `fast`, who waits looks once more after `PACE` before
    asking to be woken: being woken costs both sides more than a chunk does, and what is followed by
    a pause still comes after that time.
    """

    __slots__ = ("fast", "waiting")

    def __init__(self) -> None:
        self.fast = False
        self.waiting: deque[Callable[[], object]] = deque()

    def ring(self) -> None:
        """Wake all who wait, from any thread."""
        with suppress(IndexError):
            while True:
                self.waiting.popleft()()

    def forget(self, call: Callable[[], object]) -> None:
        """Take back a wake-up call that nobody waits for any more; one that was rung is gone already."""
        with suppress(ValueError):
            self.waiting.remove(call)


def block(bells: Bells, ready: Ready, deadline: float | None = None) -> bool:
    """Block this thread until `ready()`; False when the deadline (seconds of the monotonic clock) passed."""
    while not ready():
        if bells.fast:
            sleep(PACE)
            if ready():
                break
        bell = threading.Lock()
        bell.acquire()
        bells.waiting.append(bell.release)
        rung = False
        try:
            while not rung and not ready():
                left = _SLICE if deadline is None else min(_SLICE, deadline - monotonic())
                if left <= 0:
                    return False
                rung = bell.acquire(timeout=left)
        finally:
            if not rung:
                bells.forget(bell.release)
    return True


async def pause(ready: Ready, *bells: Bells) -> None:
    """Suspend this task until `ready()`, which is looked at when one of `bells` rings."""
    await Waiter().wait(ready, *bells)


class Waiter:
    """One task that waits again and again on the loop it was made in; to call it, from any thread, wakes it."""

    __slots__ = ("_doorbell", "_woken")

    def __init__(self) -> None:
        self._doorbell = _doorbell()
        self._woken: asyncio.Future[None] | None = None

    def __call__(self) -> None:
        """Make the task look whether what it waits for is there."""
        self._doorbell.ring(self)

    async def wait(self, ready: Ready, *bells: Bells) -> None:
        """Suspend the task until `ready()`, which is looked at when one of `bells` rings."""
        while not ready():
            if any(each.fast for each in bells):
                await asyncio.sleep(PACE)
                if ready():
                    break
            self._woken = woken = self._doorbell.loop.create_future()
            for each in bells:
                each.waiting.append(self)
            try:
                if not ready():
                    await woken
            finally:
                self._woken = None
                for each in bells:
                    if (
                        self in each.waiting
                    ):  # not rung by it: another rang, or the wait was given up
                        each.forget(self)

    def answer(self) -> None:
        """Let the task go on; on its loop."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


class Doorbell:
    """The one way into an event loop from other threads: however many ring, the loop is called once a tick."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._thread = threading.get_ident()
        self._rung = False
        self._at_the_door: deque[Waiter] = deque()

    def ring(self, waiter: Waiter) -> None:
        """Wake a waiter on its loop; nothing where that loop has ended, and the waiting task with it."""
        self._at_the_door.append(waiter)
        if self._rung:
            return
        self._rung = True
        with suppress(RuntimeError):
            if threading.get_ident() == self._thread:
                self.loop.call_soon(self._answer)
            else:
                self.loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._rung = False  # before the door is looked at: who comes after that rings again
        while self._at_the_door:
            self._at_the_door.popleft().answer()


_here = threading.local()


def _doorbell() -> Doorbell:
    """Return the doorbell of the running loop."""
    loop = asyncio.get_running_loop()
    doorbell: Doorbell | None = getattr(_here, "doorbell", None)
    if doorbell is None or doorbell.loop is not loop:
        doorbell = _here.doorbell = Doorbell(loop)
    return doorbell
