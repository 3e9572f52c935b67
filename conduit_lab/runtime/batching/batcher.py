"""Micro-batching without a timer: calls that come at the same time run as one, and nobody waits for
company.

Short runs stay where they are, because a hop to another thread costs as much as they do. In an
event loop the calls of different tasks in one tick are gathered and run at its end; a task that is
alone runs at once. In threads short runs are not joined at all. Long runs, and those not measured
yet, share one queue: while one runs the others gather, and who has run hands over to who has waited
longest. For tasks a thread is started, which ends with the queue.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from math import inf
from time import monotonic, perf_counter
from typing import Any, Generic, TypeVar

from conduit_lab.core.errors import DeadlineExceeded, Overloaded
from conduit_lab.runtime.batching.waiting import (
    Call,
    Here,
    TaskCall,
    ThreadCall,
    Tick,
    Turn,
    first_batch,
    wake,
    wake_here,
)

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# CPU seconds; a run below it stays where it is: a hop to a thread and back costs 50-100 µs
SHORT = 300e-6
# seconds of short runs until one is measured, and a task that never waits lets the others go on
TURN = 2e-3
_LEAST = TURN / 256  # seconds that a run counts at least, so that a turn has at most 256
_BLOCKED = (
    10e-3  # seconds off the CPU that are more than a wait for Python's lock: a device was at work
)
_SLICE = 0.2  # seconds a blocking wait may last before the kernel's interrupt is looked at

# Windows counts a thread's CPU time in steps of 15 ms
_cpu_time = (
    time.thread_time if time.get_clock_info("thread_time").resolution < SHORT else perf_counter
)
_batchers: weakref.WeakSet[Batcher[Any, Any]] = weakref.WeakSet()


class Batcher(Generic[Item, Answer]):
    """Joins concurrent calls of one function, from any thread and from several event loops at the
    same time.

    `run` takes some items and returns their answers in the same order; several threads may be in it
    at once. `rows` says how much an item counts. A batch has at most `max_rows` rows, or one item
    with more. At most `queue_rows` rows wait; a call past them raises `Overloaded`. A batch that
    fails is halved until the item that fails is alone, so each call gets its own answer or its own
    error.

    `timeout` is in seconds. A call that waits past its deadline raises `DeadlineExceeded`. It is
    not computed, nor is one whose caller has gone, unless that has begun: a run is never cut short.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        max_rows: int = 256,
        queue_rows: int = 8192,
    ) -> None:
        self.name = name
        self._run = run
        self._max_rows = max_rows
        self._queue_rows = queue_rows
        self._seconds = [
            inf
        ] * 64  # of a run, by rows.bit_length(); what is not measured yet counts as long
        self._turn = Turn()  # of all threads
        self._here = Here()
        self._begin()
        _batchers.add(self)

    def _begin(self) -> None:
        """Make the queue: at the start, and anew in a forked child, which has none of the threads that run or wait."""
        self._lock = threading.Lock()
        self._queue: dict[
            Call[Item, Answer], None
        ] = {}  # in order; a dict, because callers leave from its middle
        self._rows = 0  # in the queue
        self._busy = (
            False  # somebody runs and will hand over; while nobody does, the queue is empty
        )
        self._leader: Call[Item, Answer] | None = None  # its thread was told to run the next batch

    @property
    def waiting(self) -> int:
        """Rows in the queue of long runs."""
        return self._rows

    def call(self, item: Item, rows: int = 1, timeout: float | None = None) -> Answer:
        """Return the answer to `item`; blocks the calling thread."""
        if timeout is not None and timeout <= 0:
            raise self._late()
        rows = rows or 1  # an empty item takes a place too
        cost = self._seconds[rows.bit_length()]
        if (
            cost < SHORT or rows >= self._max_rows
        ):  # joining gains nothing, or nothing can be joined
            return self._run_alone(item, rows, cost, self._turn)
        call: ThreadCall[Item, Answer] = ThreadCall(item, rows, timeout)
        with self._lock:
            self._enqueue(call)
            leads, self._busy = not self._busy, True
        if (leads or self._is_told_to_run(call)) and self._run_first(call):
            self._start()
        return call.result()

    async def acall(self, item: Item, rows: int = 1, timeout: float | None = None) -> Answer:  # noqa: ASYNC109 - as `call`
        """Return the answer to `item`; the loop stays free while that takes long."""
        rows = rows or 1
        cost = self._seconds[rows.bit_length()]
        tick = self._here.tick
        if (  # the quick way: the task that called last calls again
            tick is not None
            and id(asyncio.current_task(tick.loop)) == tick.task
            and tick.left > 0
            and cost < SHORT
            and (timeout is None or timeout > 0)
        ):
            tick.left -= cost
            return self._run([item])[0]
        if timeout is not None and timeout <= 0:
            raise self._late()
        loop = asyncio.get_running_loop()
        if tick is None or tick.loop is not loop:
            tick = self._here.tick = Tick(loop)
        if (
            cost < SHORT
            and not tick.gathers
            and await tick.is_left_to(id(asyncio.current_task(loop)))
        ):
            return self._run_alone(item, rows, cost, tick)
        self._check_room(tick.rows + self._rows, rows)
        call: TaskCall[Item, Answer] = TaskCall(item, rows, timeout, loop)
        if not tick.calls:
            loop.call_soon(self._end_tick, tick)
        tick.calls.append(call)
        tick.rows += rows
        try:
            await call.future
        except BaseException:  # the caller leaves
            self._leave(call)
            raise
        finally:
            if call.timer is not None:
                call.timer.cancel()
        return call.result()

    # What a tick has gathered

    def _end_tick(self, tick: Tick) -> None:
        """Run the tick's first batch if that is short, else queue all its calls."""
        calls, tick.calls, tick.rows = tick.calls, [], 0
        tick.gathers = len(calls) > 1
        batch, rows = first_batch(calls, self._max_rows)
        if self._seconds[rows.bit_length()] >= SHORT:
            self._submit(calls)
            return
        self._gather(tick, calls[len(batch) :])
        try:
            self._compute(batch)
        except BaseException:  # an interrupt of this thread: they wait for the next tick
            self._gather(tick, batch)
            raise
        wake_here(batch)

    def _gather(self, tick: Tick, calls: Sequence[TaskCall[Item, Answer]]) -> None:
        """Leave calls to the next tick."""
        if calls and not tick.calls:
            tick.loop.call_soon(self._end_tick, tick)
        tick.calls.extend(calls)
        tick.rows += sum(call.rows for call in calls)

    def _submit(self, calls: Sequence[TaskCall[Item, Answer]]) -> None:
        """Queue calls of the running loop, and start a thread for them if nobody runs."""
        with self._lock:
            for call in calls:
                if call.gone():
                    continue
                try:
                    self._enqueue(call)
                except Overloaded as error:  # other loops and threads have filled it since
                    call.error = error
                    call.future.set_result(None)
                    continue
                if call.deadline < inf:
                    call.timer = call.loop.call_later(
                        call.deadline - monotonic(), self._expire, call
                    )
            if starts := bool(self._queue) and not self._busy:
                self._busy = True
        if starts:
            self._start()

    def _expire(self, call: TaskCall[Item, Answer]) -> None:
        """End the wait of a task at its deadline."""
        if not call.gone():
            self._leave(call)
            call.error = self._late()
            call.future.set_result(None)

    # The queue of long runs

    def _enqueue(self, call: Call[Item, Answer]) -> None:
        """Add a call, with the lock held."""
        self._check_room(self._rows, call.rows)
        self._queue[call] = None
        self._rows += call.rows

    def _leave(self, call: Call[Item, Answer]) -> bool:
        """Take a call out of the queue, if it is there; True if its thread was told to run."""
        with self._lock:
            if call in self._queue:
                del self._queue[call]
                self._rows -= call.rows
            return call is self._leader

    def _is_told_to_run(self, call: ThreadCall[Item, Answer]) -> bool:
        """Wait: False when the answer is there, True when this thread is to run a batch, with its own call in it."""
        try:
            while not call.bell.acquire(timeout=max(0.0, min(_SLICE, call.deadline - monotonic()))):
                if call.deadline <= monotonic():
                    raise self._late()
        except BaseException:  # the caller leaves
            if self._leave(call) and self._hand_over():
                self._start()
            raise
        return call is self._leader

    def _run_first(self, own: Call[Item, Answer] | None = None) -> bool:
        """Run the queue's first batch and hand over; True if tasks are next, which needs a thread."""
        with self._lock:
            self._leader = None
            batch, rows = first_batch(self._queue, self._max_rows)
            for call in batch:
                del self._queue[call]
            self._rows -= rows
        try:
            self._compute(batch)
        except BaseException:  # an interrupt of this thread: the others wait for the next batch
            with self._lock:
                again = [call for call in batch if call is not own]
                self._queue = dict.fromkeys(again) | self._queue
                self._rows += sum(call.rows for call in again)
            if self._hand_over():
                self._start()
            raise
        needs_thread = self._hand_over()
        wake(batch)
        return needs_thread

    def _hand_over(self) -> bool:
        """Tell the thread that has waited longest to run; True if it is a task that has, which needs a thread."""
        with self._lock:
            head = next(iter(self._queue), None)
            self._busy = head is not None
            self._leader = head if isinstance(head, ThreadCall) else None
        if isinstance(head, ThreadCall):
            head.bell.release()
        return isinstance(head, TaskCall)

    def _start(self) -> None:
        """Run batches in a new thread, until no task is next."""
        try:
            threading.Thread(
                target=self._drain, name=f"batches of {self.name}", daemon=False
            ).start()
        except (
            RuntimeError
        ):  # no thread is to be had, as at the exit of the process: better slow than never
            self._drain()

    def _drain(self) -> None:
        while self._run_first():
            pass

    # Running

    def _run_alone(self, item: Item, rows: int, cost: float, turn: Turn) -> Answer:
        """Run one item here, and measure it when the turn is over."""
        if turn.left > cost:
            turn.left -= cost
            return self._run([item])[0]
        turn.left = TURN
        return self._measured([item], rows)[0]

    def _compute(self, calls: Iterable[Call[Item, Answer]]) -> None:
        """Give every call its answer or its own error: what fails together is halved until it is alone."""
        now = monotonic()
        waiting: list[Call[Item, Answer]] = []
        for call in calls:
            if call.deadline <= now:
                call.error = self._late()
            elif not call.gone():
                waiting.append(call)
        if not waiting:
            return
        try:
            answers = self._measured(
                [call.item for call in waiting], sum([call.rows for call in waiting])
            )
            for call, answer in zip(waiting, answers, strict=True):
                call.answer = answer
            return
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it is, it is theirs, and this thread goes on
            if len(waiting) == 1:
                waiting[0].error = error
                return
        half = len(waiting) // 2
        self._compute(waiting[:half])
        self._compute(waiting[half:])

    def _measured(self, items: Sequence[Item], rows: int) -> Sequence[Answer]:
        """Run, and learn how long so many rows take.

        This thread's CPU time counts, which other work does not lengthen; the threads of
        onnxruntime share the work evenly with it. If it waits for a device, the whole time counts.
        """
        wall, cpu = perf_counter(), _cpu_time()
        answers = self._run(items)
        cpu, wall = _cpu_time() - cpu, perf_counter() - wall
        spent = wall if wall - cpu > _BLOCKED else cpu
        size = rows.bit_length()
        known = self._seconds[size]
        self._seconds[size] = max(_LEAST, spent if known == inf else known + (spent - known) / 4)
        return answers

    def _check_room(self, waiting: int, rows: int) -> None:
        if waiting and waiting + rows > self._queue_rows:
            raise Overloaded(
                f"{self.name!r} has {waiting} rows waiting and takes at most {self._queue_rows}: "
                f"{rows} more were refused; try again later"
            )

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"{self.name!r} had no answer by the deadline: allow more time, or call less at once"
        )


def _begin_all() -> None:
    for batcher in list(_batchers):
        batcher._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all)
