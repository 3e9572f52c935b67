"""Calls without a task: their answers go to a callback, batched with the calls of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from conduit_lab.errors import DeadlineExceeded, Overloaded
from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.batching.run_times import (
    EXTRA_CALL_SECONDS,
    INLINE_BUDGET_SECONDS,
    SHORT_RUN_SECONDS,
    RunTimes,
)
from conduit_lab.runtime.batching.waiters import CallbackWaiter


class Squares:
    """A batcher of squares; 13 fails, and `batches` are the items of each run."""

    def __init__(self, *, short: bool = True, queue_rows: int = 8192) -> None:
        self.batches: list[list[int]] = []
        self.batcher: Batcher[int, int] = Batcher("squares", self._run, queue_rows=queue_rows)
        if short:
            self.batcher._seconds[:] = [1e-6] * 64

    def begin_to_coalesce(self) -> None:
        """Take this iteration of the loop for one after calls of several callers."""
        self.batcher._current.of(asyncio.get_running_loop()).coalesces = True

    def _run(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        if 13 in items:
            raise ValueError("13")
        return [item * item for item in items]


class Ended:
    """The answers and errors of calls, in the order in which they came."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._changed = asyncio.Event()

    def __call__(self, waiter: CallbackWaiter[int, int]) -> None:
        self.all.append(waiter.answer if waiter.error is None else type(waiter.error))
        self._changed.set()

    async def until(self, count: int) -> list[Any]:
        async with asyncio.timeout(30):
            while len(self.all) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.all


@pytest.mark.parametrize("short", [True, False])
def test_callbacks_and_tasks_share_a_run(short: bool) -> None:
    async def main() -> None:
        squares, ended = Squares(short=short), Ended()
        squares.begin_to_coalesce()
        for item in (2, 3):
            squares.batcher.submit(item, 1, None, ended, item)
        task = asyncio.create_task(squares.batcher.acall(4))
        await asyncio.sleep(0)
        squares.batcher.submit(5, 1, None, ended, 5)
        assert await ended.until(3) == [4, 9, 25]
        assert await task == 16
        assert sorted(item for batch in squares.batches for item in batch) == [2, 3, 4, 5]
        assert squares.batches[0][:2] == [2, 3]

    asyncio.run(main())


def test_the_only_caller_is_answered_at_once() -> None:
    async def main() -> None:
        squares, ended = Squares(), Ended()
        for item in (2, 13, 4):
            squares.batcher.submit(item, 1, None, ended, 1)
        assert ended.all == [4, ValueError, 16]
        await asyncio.sleep(0)
        squares.batcher.submit(5, 1, None, ended, 2)  # another one
        assert ended.all[3:] == [25]
        squares.batcher.submit(6, 1, None, ended, 3)  # a third one in the same iteration
        squares.batcher.submit(7, 1, None, ended, 2)
        assert len(ended.all) == 4
        assert await ended.until(6) == [4, ValueError, 16, 25, 36, 49]
        assert squares.batches[4:] == [[6, 7]]

    asyncio.run(main())


def test_calls_of_whole_batches_run_at_once_while_the_budget_lasts() -> None:
    async def main() -> None:
        squares, ended = Squares(), Ended()
        rows = squares.batcher.max_rows
        squares.batcher._seconds[:] = [INLINE_BUDGET_SECONDS / 5] * 64
        squares.begin_to_coalesce()
        squares.batcher.submit(1, rows, None, ended, 1)  # measured at the end of the iteration
        assert await ended.until(1) == [1]
        squares.batcher._seconds[:] = [INLINE_BUDGET_SECONDS / 5] * 64
        for item in range(2, 9):
            squares.batcher.submit(item, rows, None, ended, item)
        assert 2 < len(ended.all) < 8  # the others let the loop run other callbacks first
        assert await ended.until(8) == [item * item for item in range(1, 9)]
        assert squares.batches == [[item] for item in range(1, 9)]

    asyncio.run(main())


@pytest.mark.parametrize("short", [True, False])
def test_each_callback_gets_its_own_error(short: bool) -> None:
    async def main() -> None:
        squares, ended = Squares(short=short), Ended()
        squares.begin_to_coalesce()
        for item in (2, 13, 4):
            squares.batcher.submit(item, 1, None, ended, item)
        assert await ended.until(3) == [4, ValueError, 16]

    asyncio.run(main())


@pytest.mark.parametrize("short", [True, False])
def test_a_withdrawn_call_is_not_run(short: bool) -> None:
    async def main() -> None:
        squares, ended = Squares(short=short), Ended()
        squares.begin_to_coalesce()
        withdrawn = squares.batcher.submit(2, 1, None, ended, 2)
        squares.batcher.submit(3, 1, None, ended, 3)
        squares.batcher.withdraw(withdrawn)
        assert await ended.until(1) == [9]
        assert squares.batches == [[3]]
        squares.batcher.withdraw(withdrawn)

    asyncio.run(main())


def test_a_call_after_its_deadline_is_refused() -> None:
    async def main() -> None:
        squares, ended = Squares(), Ended()
        squares.begin_to_coalesce()
        with pytest.raises(DeadlineExceeded):
            squares.batcher.submit(2, 1, 0.0, ended, 2)
        squares.batcher.submit(2, 1, 1e-9, ended, 2)
        assert await ended.until(1) == [DeadlineExceeded]
        assert squares.batches == []

    asyncio.run(main())


def test_a_full_queue_refuses_a_call() -> None:
    async def main() -> None:
        squares, ended = Squares(queue_rows=2), Ended()
        squares.begin_to_coalesce()
        for item in (2, 3):
            squares.batcher.submit(item, 1, None, ended, item)
        with pytest.raises(Overloaded):
            squares.batcher.submit(4, 1, None, ended, 4)
        assert await ended.until(2) == [4, 9]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("calls", "seconds", "short"),
    [
        (1, SHORT_RUN_SECONDS, True),
        (1, SHORT_RUN_SECONDS + 2 * EXTRA_CALL_SECONDS, False),
        (64, SHORT_RUN_SECONDS + 63 * EXTRA_CALL_SECONDS, True),
        (64, SHORT_RUN_SECONDS + 65 * EXTRA_CALL_SECONDS, False),
    ],
)
def test_a_run_of_more_calls_may_take_longer_on_the_loop(
    calls: int, seconds: float, short: bool
) -> None:
    times = RunTimes()
    assert not times.are_short(64, calls)  # not measured yet
    times.record(64, seconds, seconds)
    assert times.are_short(64, calls) is short


def test_a_callback_that_fails_keeps_no_other_caller_from_its_answer() -> None:
    async def main() -> None:
        squares, ended = Squares(), Ended()
        problems: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, about: problems.append(about))
        squares.begin_to_coalesce()

        def fail(waiter: CallbackWaiter[int, int]) -> None:
            raise ZeroDivisionError

        squares.batcher.submit(2, 1, None, fail, 2)
        squares.batcher.submit(3, 1, None, ended, 3)
        assert await ended.until(1) == [9]
        assert [type(each["exception"]) for each in problems] == [ZeroDivisionError]

    asyncio.run(main())
