"""Waiters: queued calls from threads, tasks and event-loop callbacks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Generic, TypeVar

from conduit_lab.runtime.batching.run_times import INLINE_BUDGET_SECONDS

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class BatchWaiter(Generic[_Item, _Answer]):
    """A queued call: its item, its number of rows, and its deadline on the monotonic clock."""

    __slots__ = ("answer", "deadline", "error", "item", "rows")
    answer: _Answer

    def __init__(self, item: _Item, rows: int, timeout: float | None) -> None:
        self.item = item
        self.rows = rows
        self.deadline = inf if timeout is None else monotonic() + timeout
        self.error: BaseException | None = None

    def gone(self) -> bool:
        """Whether the call was cancelled."""
        return False

    def result(self) -> _Answer:
        """Return the answer or raise the error, once."""
        if self.error is None:
            return self.answer
        # break the reference cycle through the traceback, which would keep every item alive
        error, self.error = self.error, None
        try:
            raise error
        finally:
            del error


class ThreadWaiter(BatchWaiter[_Item, _Answer]):
    """A call whose thread blocks until its wakeup."""

    __slots__ = ("wakeup",)

    def __init__(self, item: _Item, rows: int, timeout: float | None) -> None:
        super().__init__(item, rows, timeout)
        self.wakeup = threading.Lock()  # held until the thread is woken
        self.wakeup.acquire()


class LoopWaiter(BatchWaiter[_Item, _Answer]):
    """A call from an event loop, on which `wake` is called once."""

    __slots__ = ("loop", "timer")
    loop: asyncio.AbstractEventLoop
    timer: asyncio.TimerHandle | None  # for the deadline

    def wake(self) -> None:
        """Notify the caller: the answer or the error is set."""
        raise NotImplementedError


class TaskWaiter(LoopWaiter[_Item, _Answer]):
    """A call whose task awaits its future."""

    __slots__ = ("future",)

    def __init__(
        self, item: _Item, rows: int, timeout: float | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.item = item  # super().__init__() would cost a call per request
        self.rows = rows
        self.deadline = inf if timeout is None else monotonic() + timeout
        self.error = None
        self.loop = loop
        self.timer = None
        self.future: asyncio.Future[None] = loop.create_future()

    def gone(self) -> bool:
        """Whether the task was answered or cancelled."""
        return self.future.done()

    def wake(self) -> None:
        """Resume the task."""
        if not self.future.done():
            self.future.set_result(None)


class CallbackWaiter(LoopWaiter[_Item, _Answer]):
    """A call without a task: `wake` passes it to `done` unless it was cancelled."""

    __slots__ = ("done",)

    def __init__(
        self,
        item: _Item,
        rows: int,
        timeout: float | None,
        loop: asyncio.AbstractEventLoop,
        done: Callable[[CallbackWaiter[_Item, _Answer]], None],
    ) -> None:
        self.item = item
        self.rows = rows
        self.deadline = inf if timeout is None else monotonic() + timeout
        self.error = None
        self.loop = loop
        self.timer = None
        self.done: Callable[[CallbackWaiter[_Item, _Answer]], None] | None = done

    def gone(self) -> bool:
        """Whether the callback was called or cancelled."""
        return self.done is None

    def wake(self) -> None:
        """Call `done`, once."""
        if (done := self.done) is not None:
            self.leave()
            done(self)

    def leave(self) -> None:
        """Discard `done` and the deadline."""
        self.done = None
        if self.timer is not None:
            self.timer.cancel()


_AnyWaiter = TypeVar("_AnyWaiter", bound=BatchWaiter[Any, Any])


def first_batch(waiters: Iterable[_AnyWaiter], max_rows: int) -> tuple[list[_AnyWaiter], int]:
    """Return the first waiters that make up a batch, and their rows."""
    batch: list[_AnyWaiter] = []
    total = 0
    for waiter in waiters:
        if batch and total + waiter.rows > max_rows:
            break
        batch.append(waiter)
        total += waiter.rows
    return batch, total


def notify(waiters: Iterable[BatchWaiter[Any, Any]]) -> None:
    """Wake the callers, from any thread, with one wakeup per event loop."""
    of_loop: dict[asyncio.AbstractEventLoop, list[LoopWaiter[Any, Any]]] = {}
    for waiter in waiters:
        if isinstance(waiter, LoopWaiter):
            of_loop.setdefault(waiter.loop, []).append(waiter)
        elif isinstance(waiter, ThreadWaiter):
            waiter.wakeup.release()
    for loop, calls in of_loop.items():
        with suppress(RuntimeError):  # the loop is closed, so its tasks no longer exist
            loop.call_soon_threadsafe(notify_here, calls)


def notify_here(waiters: Iterable[LoopWaiter[Any, Any]]) -> None:
    """Wake callers on the running loop; a failing callback does not affect the others."""
    for waiter in waiters:
        try:
            waiter.wake()
        except Exception as error:
            about = {"message": "a callback failed to handle its answer", "exception": error}
            waiter.loop.call_exception_handler(about)


class InlineBudget:
    """The seconds of short runs left before one is measured and its task yields to others."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0.0


class LoopTick(InlineBudget):
    """The calls of one event loop in its current iteration; only its thread writes."""

    __slots__ = ("coalesces", "fresh", "loop", "rows", "task", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.waiters: list[LoopWaiter[Any, Any]] = []  # until the end of the tick
        self.rows = 0  # of the waiters
        self.coalesces = False  # several tasks called in the last tick
        self.task = 0  # the ID of the last caller that ran its call inline; 0 while coalescing
        self.fresh = False  # that caller called in this tick

    def end(self) -> list[LoopWaiter[Any, Any]]:
        """Return the calls of this tick, which are measured; then other callbacks run."""
        waiters, self.waiters, self.rows = self.waiters, [], 0
        self.coalesces = len(waiters) > 1
        self.left = INLINE_BUDGET_SECONDS
        return waiters

    async def may_run_inline(self, task: int) -> bool:
        """Return whether a task is the only caller in this tick; sometimes yield to others."""
        if self.left <= 0:
            await asyncio.sleep(0)
        return self.is_alone(task)

    def is_alone(self, caller: int) -> bool:
        """Return whether a caller (a task or a connection) is the only one in this tick."""
        if caller != self.task or self.coalesces:
            if self.coalesces or self.fresh:
                self.coalesces, self.task = True, 0
                return False
            self.task, self.fresh = caller, True
            self.loop.call_soon(self._age)
        return True

    def _age(self) -> None:
        self.fresh = False


class CurrentTick(threading.local):
    """The tick of this thread's event loop."""

    tick: LoopTick | None = None

    def of(self, loop: asyncio.AbstractEventLoop) -> LoopTick:
        """Return the tick of the running loop."""
        tick = self.tick
        if tick is None or tick.loop is not loop:
            tick = self.tick = LoopTick(loop)
        return tick
