"""Calls that wait for an answer: of a thread, for its bell; of a task, for its future and the end of its tick."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Call(Generic[Item, Answer]):
    """One call that waits: its item, what that counts, and its deadline in seconds of the monotonic clock."""

    __slots__ = ("answer", "deadline", "error", "item", "rows")
    answer: Answer

    def __init__(self, item: Item, rows: int, timeout: float | None) -> None:
        self.item = item
        self.rows = rows
        self.deadline = inf if timeout is None else monotonic() + timeout
        self.error: BaseException | None = None

    def gone(self) -> bool:
        """Whether its caller waits no longer."""
        return False

    def result(self) -> Answer:
        """Return the answer or raise the error, once."""
        if self.error is None:
            return self.answer
        error, self.error = (
            self.error,
            None,
        )  # its traceback leads back here: the circle would keep every item in it
        try:
            raise error
        finally:
            del error


class ThreadCall(Call[Item, Answer]):
    """A call whose thread waits for its bell."""

    __slots__ = ("bell",)

    def __init__(self, item: Item, rows: int, timeout: float | None) -> None:
        super().__init__(item, rows, timeout)
        self.bell = threading.Lock()  # released to ring
        self.bell.acquire()


class TaskCall(Call[Item, Answer]):
    """A call whose task waits for its future."""

    __slots__ = ("future", "loop", "timer")

    def __init__(
        self, item: Item, rows: int, timeout: float | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(item, rows, timeout)
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None  # of the deadline

    def gone(self) -> bool:
        """Whether its task was answered or has left."""
        return self.future.done()


AnyCall = TypeVar("AnyCall", bound=Call[Any, Any])


def first_batch(calls: Iterable[AnyCall], max_rows: int) -> tuple[list[AnyCall], int]:
    """Return the first of `calls` that make a batch, and their rows."""
    batch: list[AnyCall] = []
    total = 0
    for call in calls:
        if batch and total + call.rows > max_rows:
            break
        batch.append(call)
        total += call.rows
    return batch, total


def wake(calls: Iterable[Call[Any, Any]]) -> None:
    """Wake the callers, from any thread; each loop once."""
    of_loop: dict[asyncio.AbstractEventLoop, list[TaskCall[Any, Any]]] = {}
    for call in calls:
        if isinstance(call, TaskCall):
            of_loop.setdefault(call.loop, []).append(call)
        elif isinstance(call, ThreadCall):
            call.bell.release()
    for loop, its_calls in of_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(wake_here, its_calls)


def wake_here(calls: Iterable[TaskCall[Any, Any]]) -> None:
    """Wake tasks of the running loop."""
    for call in calls:
        if not call.future.done():
            call.future.set_result(None)


class Turn:
    """How long short runs may go on until one is measured, and a task lets others go on."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0.0  # seconds


class Tick(Turn):
    """What the tasks of one event loop have called since it last looked round."""

    __slots__ = ("calls", "fresh", "gathers", "loop", "rows", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.calls: list[TaskCall[Any, Any]] = []  # for the end of the tick
        self.rows = 0
        self.gathers = False  # several tasks called in the last tick
        self.task = 0  # the id of the task that last ran its own call, 0 while the tick gathers
        self.fresh = False  # that task has come in this tick

    async def is_left_to(self, task: int) -> bool:
        """Whether a task may run its call itself, since no other one calls in this tick."""
        if self.left <= 0:
            await asyncio.sleep(0)
        if task != self.task:
            if self.gathers or self.fresh:
                self.gathers, self.task = True, 0
                return False
            self.task, self.fresh = task, True
            self.loop.call_soon(self._age)
        return True

    def _age(self) -> None:
        self.fresh = False


class Here(threading.local):
    """The tick of this thread's event loop."""

    tick: Tick | None = None
