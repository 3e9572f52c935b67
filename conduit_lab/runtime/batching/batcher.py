"""Batcher: micro-batching without a timer: concurrent calls are coalesced, and no call is delayed.

A hop to another thread costs as much as a short run, so short runs stay on the calling thread. On
an event loop, the calls that several tasks make in one iteration run together at its end; a single
caller, or a call of a whole batch, runs at once. On threads, short runs are not coalesced. Long
runs, and runs not yet measured, share one queue, in which calls accumulate while a batch runs. When
a thread finishes its batch it hands the queue to the longest-waiting caller; for asyncio tasks a
worker thread runs until the queue is empty, and is reused while calls keep coming.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from math import inf
from time import monotonic
from typing import Any, Generic, TypeVar

from conduit_lab.core.errors import Overloaded
from conduit_lab.core.forking import in_forked_child
from conduit_lab.runtime.batching.refusals import late, overloaded
from conduit_lab.runtime.batching.run_times import INLINE_BUDGET_SECONDS as BUDGET_SECONDS
from conduit_lab.runtime.batching.run_times import SHORT_RUN_SECONDS, RunTimes
from conduit_lab.runtime.batching.waiters import (
    BatchWaiter,
    CallbackWaiter,
    CurrentTick,
    InlineBudget,
    LoopTick,
    LoopWaiter,
    TaskWaiter,
    ThreadWaiter,
    first_batch,
    notify,
    notify_here,
)

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

_LINGER_SECONDS = 0.1  # idle time before a thread ends; process exit waits for it
_WAIT_SLICE_SECONDS = 0.2  # between a blocking wait's checks for the kernel's interrupt
_batchers: weakref.WeakSet[Batcher[Any, Any]] = weakref.WeakSet()


class Batcher(Generic[_Item, _Answer]):
    """Coalesces concurrent calls of one function from any threads and event loops.

    `run` maps items to their answers in the same order, and must be thread-safe. `rows` is the size
    of an item. A batch has at most `max_rows` rows, or one larger item. At most `queue_rows` rows
    wait; a call beyond that raises `Overloaded`. A failing batch is halved until the failing item
    is isolated, so each call gets its own answer or its own error.

    `timeout` is in seconds. A call that waits past its deadline raises `DeadlineExceeded`. Neither
    its item nor that of a cancelled call is computed unless the run has already started: a run is
    never interrupted.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[_Item]], Sequence[_Answer]],
        *,
        max_rows: int = 256,
        queue_rows: int = 8192,
    ) -> None:
        self.name = name
        self._run = run
        self._max_rows = max_rows
        self._queue_rows = queue_rows
        self._times = RunTimes()
        self._seconds = self._times.seconds
        self._budget = InlineBudget()  # shared by all threads
        self._current = CurrentTick()
        self._reset()
        _batchers.add(self)

    def _reset(self) -> None:
        """Create an empty queue, initially and in a forked child, which has no other threads.

        Everything set here is guarded by `_lock`.
        """
        self._lock = threading.Lock()
        # in arrival order; a dict, because cancelled calls are removed from its middle
        self._queue: dict[BatchWaiter[_Item, _Answer], None] = {}
        self._rows = 0  # in the queue
        self._busy = False  # a thread is running a batch; if not, the queue is empty
        self._idle: threading.Lock | None = None  # wakes the thread that waits for tasks
        self._leader: BatchWaiter[_Item, _Answer] | None = None  # its thread runs the next batch

    @property
    def max_rows(self) -> int:
        """The maximum number of rows per batch."""
        return self._max_rows

    @property
    def run_seconds(self) -> dict[int, float]:
        """Measured seconds per run by number of rows; see `RunTimes.by_rows`."""
        return self._times.by_rows()

    @property
    def waiting(self) -> int:
        """Rows in the queue of long runs."""
        return self._rows

    def call(self, item: _Item, rows: int = 1, timeout: float | None = None) -> _Answer:
        """Return the answer to `item`; blocks the calling thread."""
        if timeout is not None and timeout <= 0:
            raise late(self.name)
        rows = rows or 1  # an empty item counts as one row
        cost = self._seconds[rows.bit_length()]
        if cost < SHORT_RUN_SECONDS or rows >= self._max_rows:  # coalescing gains nothing
            return self._run_inline(item, rows, cost, self._budget)
        waiter: ThreadWaiter[_Item, _Answer] = ThreadWaiter(item, rows, timeout)
        with self._lock:
            self._enqueue(waiter)
            leads, self._busy = not self._busy, True
        if (leads or self._wait_to_lead(waiter)) and self._run_first(waiter):
            self._start_thread()
        return waiter.result()

    async def acall(
        self,
        item: _Item,
        rows: int = 1,
        timeout: float | None = None,  # noqa: ASYNC109 - as `call`
    ) -> _Answer:
        """Return the answer to `item`; a long run does not block the loop."""
        rows = rows or 1
        cost = self._seconds[rows.bit_length()]
        tick = self._current.tick
        if (  # fast path: the same task as in the last call
            tick is not None
            and not tick.coalesces
            and id(asyncio.current_task(tick.loop)) == tick.task
            and tick.left > 0
            and cost < SHORT_RUN_SECONDS
            and (timeout is None or timeout > 0)
        ):
            tick.left -= cost
            return self._run([item])[0]
        if timeout is not None and timeout <= 0:
            raise late(self.name)
        loop = asyncio.get_running_loop()
        if tick is None or tick.loop is not loop:
            tick = self._current.of(loop)
        short = cost < SHORT_RUN_SECONDS and not tick.coalesces
        if short and await tick.may_run_inline(id(asyncio.current_task(loop))):
            return self._run_inline(item, rows, cost, tick)
        self._check_room(tick.rows + self._rows, rows)
        waiter: TaskWaiter[_Item, _Answer] = TaskWaiter(item, rows, timeout, loop)
        self._defer(tick, waiter)
        try:
            await waiter.future
        except BaseException:  # the call is cancelled
            self._leave(waiter)
            raise
        finally:
            if waiter.timer is not None:
                waiter.timer.cancel()
        return waiter.result()

    def submit(
        self,
        item: _Item,
        rows: int,
        timeout: float | None,
        done: Callable[[CallbackWaiter[_Item, _Answer]], None],
        caller: int,
    ) -> CallbackWaiter[_Item, _Answer]:
        """Call `done` on the running loop once the answer to `item` is ready, without a task.

        For the only `caller`, or a whole batch, that is immediately. Cancel it with `withdraw`.
        """
        if timeout is not None and timeout <= 0:
            raise late(self.name)
        rows = rows or 1
        tick = self._current.of(asyncio.get_running_loop())
        self._check_room(tick.rows + self._rows, rows)
        waiter = CallbackWaiter(item, rows, timeout, tick.loop, done)
        cost = self._seconds[rows.bit_length()]
        fills_batch = rows >= self._max_rows and cost < tick.left  # coalescing gains nothing
        if cost >= SHORT_RUN_SECONDS or not (tick.is_alone(caller) or fills_batch):
            self._defer(tick, waiter)
            return waiter
        try:
            waiter.answer = self._run_inline(item, rows, cost, tick)
        except Exception as error:
            waiter.error = error
        waiter.wake()
        return waiter

    def withdraw(self, waiter: CallbackWaiter[_Item, _Answer]) -> None:
        """Cancel a submitted call unless its run has started; its callback is not called."""
        waiter.leave()
        self._leave(waiter)

    # Calls within a tick

    def _defer(self, tick: LoopTick, waiter: LoopWaiter[_Item, _Answer]) -> None:
        """Defer a call to the end of the tick."""
        if not tick.waiters:
            tick.loop.call_soon(self._end_tick, tick)
        tick.waiters.append(waiter)
        tick.rows += waiter.rows

    def _end_tick(self, tick: LoopTick) -> None:
        """Run the tick's first batch if that is short, else queue all its calls."""
        waiters = tick.end()
        batch, rows = first_batch(waiters, self._max_rows)
        if not self._times.are_short(rows, len(batch)):
            self._queue_up(waiters)
            return
        for waiter in waiters[len(batch) :]:
            self._defer(tick, waiter)
        try:
            self._compute(batch)
        except BaseException:  # this thread was interrupted
            for waiter in batch:
                self._defer(tick, waiter)
            raise
        notify_here(batch)

    def _queue_up(self, waiters: Sequence[LoopWaiter[_Item, _Answer]]) -> None:
        """Queue calls of the running loop, and start a thread for them unless one runs."""
        with self._lock:
            for waiter in waiters:
                if waiter.gone():
                    continue
                try:
                    self._enqueue(waiter)
                except Overloaded as error:  # other loops and threads have filled the queue
                    waiter.error = error
                    waiter.loop.call_soon(waiter.wake)  # the lock is held
                    continue
                if waiter.deadline < inf:
                    delay = waiter.deadline - monotonic()
                    waiter.timer = waiter.loop.call_later(delay, self._expire, waiter)
            if starts := bool(self._queue) and not self._busy:
                self._busy = True
        if starts:
            self._start_thread()

    def _expire(self, waiter: LoopWaiter[_Item, _Answer]) -> None:
        """Fail a call at its deadline."""
        if not waiter.gone():
            self._leave(waiter)
            waiter.error = late(self.name)
            waiter.wake()

    # The queue of long runs

    def _enqueue(self, waiter: BatchWaiter[_Item, _Answer]) -> None:
        """Add a call, with the lock held."""
        self._check_room(self._rows, waiter.rows)
        self._queue[waiter] = None
        self._rows += waiter.rows

    def _leave(self, waiter: BatchWaiter[_Item, _Answer]) -> bool:
        """Remove a call from the queue; return whether its thread leads the next batch."""
        with self._lock:
            if waiter in self._queue:
                del self._queue[waiter]
                self._rows -= waiter.rows
            return waiter is self._leader

    def _wait_to_lead(self, waiter: ThreadWaiter[_Item, _Answer]) -> bool:
        """Block until the answer is ready (False) or this thread leads the next batch (True)."""
        try:
            while not waiter.wakeup.acquire(
                timeout=max(0.0, min(_WAIT_SLICE_SECONDS, waiter.deadline - monotonic()))
            ):
                if waiter.deadline <= monotonic():
                    raise late(self.name)
        except BaseException:  # the call is cancelled
            if self._leave(waiter) and self._hand_over():
                self._start_thread()
            raise
        return waiter is self._leader

    def _run_first(
        self, own: BatchWaiter[_Item, _Answer] | None = None, idle: threading.Lock | None = None
    ) -> bool:
        """Run the first batch and pass the queue on; return whether another thread must go on."""
        with self._lock:
            self._leader = None
            batch, rows = first_batch(self._queue, self._max_rows)
            for waiter in batch:
                del self._queue[waiter]
            self._rows -= rows
        try:
            self._compute(batch)
        except BaseException:  # this thread was interrupted: queue the other calls again
            with self._lock:
                again = [waiter for waiter in batch if waiter is not own]
                self._queue = dict.fromkeys(again) | self._queue
                self._rows += sum(waiter.rows for waiter in again)
            if self._hand_over():
                self._start_thread()
            raise
        needs_thread = self._hand_over(idle)
        notify(batch)
        return needs_thread

    def _hand_over(self, idle: threading.Lock | None = None) -> bool:
        """Pass the queue to the longest-waiting caller; return whether it is on an event loop.

        Such a caller needs a thread to run its batch.
        """
        with self._lock:
            head = next(iter(self._queue), None)
            self._busy = head is not None
            self._leader = head if isinstance(head, ThreadWaiter) else None
            if head is None and self._idle is None:
                self._idle = idle  # before delivering answers: the next call may follow at once
        if isinstance(head, ThreadWaiter):
            head.wakeup.release()
        return isinstance(head, LoopWaiter)

    def _start_thread(self) -> None:
        """Run batches in another thread until no task is next in the queue."""
        with self._lock:
            idle, self._idle = self._idle, None
            if idle is not None:
                idle.release()  # under the lock: its thread may be about to exit
                return
        name = f"batches of {self.name}"
        try:
            threading.Thread(target=self._drain, name=name, daemon=False).start()
        except RuntimeError:  # threads cannot start at interpreter shutdown: block instead
            self._drain()

    def _drain(self) -> None:
        """Run batches while tasks are next, then linger: starting a thread costs more."""
        wakeup = threading.Lock()  # held until this idle thread is needed
        wakeup.acquire()
        while True:
            while self._run_first(idle=wakeup):
                pass
            if wakeup.acquire(timeout=_LINGER_SECONDS if self._idle is wakeup else 0):
                continue
            with self._lock:
                self._idle = None if self._idle is wakeup else self._idle
            if not wakeup.acquire(timeout=0):  # timed out, another is idle, or a caller leads
                return

    # Running

    def _run_inline(self, item: _Item, rows: int, cost: float, budget: InlineBudget) -> _Answer:
        """Run one item here, and measure the run if the budget is spent."""
        if budget.left > cost:
            budget.left -= cost
            return self._run([item])[0]
        budget.left = BUDGET_SECONDS
        return self._measured([item], rows)[0]

    def _compute(self, calls: Iterable[BatchWaiter[_Item, _Answer]]) -> None:
        """Set the answer or the error of every call; halve a failing batch to isolate the error."""
        now = monotonic()
        waiters: list[BatchWaiter[_Item, _Answer]] = []
        for waiter in calls:
            if waiter.deadline <= now:
                waiter.error = late(self.name)
            elif not waiter.gone():
                waiters.append(waiter)
        if not waiters:
            return
        try:
            answers = self._measured(
                [waiter.item for waiter in waiters], sum([waiter.rows for waiter in waiters])
            )
            for waiter, answer in zip(waiters, answers, strict=True):
                waiter.answer = answer
            return
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # an error of the call, not of this thread
            if len(waiters) == 1:
                waiters[0].error = error
                return
        half = len(waiters) // 2
        self._compute(waiters[:half])
        self._compute(waiters[half:])

    def _measured(self, items: Sequence[_Item], rows: int) -> Sequence[_Answer]:
        return self._times.measured(self._run, items, rows)

    def _check_room(self, waiting: int, rows: int) -> None:
        if waiting and waiting + rows > self._queue_rows:
            raise overloaded(self.name, waiting, self._queue_rows, rows)


def _reset_all() -> None:
    for batcher in list(_batchers):
        batcher._reset()


in_forked_child(_reset_all)
