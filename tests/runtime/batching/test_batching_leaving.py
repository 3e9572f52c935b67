"""Batcher: tasks that leave by a deadline, a cancellation or the end of their loop or process."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
import uvloop

from conduit_lab.core.errors import DeadlineExceeded
from conduit_lab.runtime.batching.batcher import Batcher
from tests.runtime.batching.batches import (
    Batches,
    measured,
    queue_tasks,
    script,
    wait_async,
    wait_until,
)

pytestmark = pytest.mark.alone

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """A function that runs a coroutine in a new event loop; no thread may outlive it."""
    before = set(threading.enumerate())
    yield request.param
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_a_call_past_its_deadline_is_not_computed(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> list[int]:
        with batches.held():
            tasks = await queue_tasks(batcher, batches, [1])
            with pytest.raises(DeadlineExceeded, match="'doubles' had no answer by the deadline"):
                await batcher.acall(2, timeout=0.01)
            assert batcher.waiting == 1
        return await asyncio.gather(*tasks)

    assert run(main()) == [200, 2]
    assert batches.seen == [[100], [1]]


def test_a_deadline_that_passes_on_a_blocked_loop_counts(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches)

    async def main() -> list[int | BaseException]:
        await batcher.acall(0)
        calls = [asyncio.create_task(batcher.acall(0)), asyncio.create_task(batcher.acall(1))]
        calls += [asyncio.create_task(batcher.acall(2, timeout=0.005))]
        asyncio.get_running_loop().call_soon(time.sleep, 0.01)
        return await asyncio.gather(*calls, return_exceptions=True)

    *answers, late = run(main())
    assert answers == [0, 2]
    assert isinstance(late, DeadlineExceeded)
    assert [2] not in batches.seen


def test_a_task_leaves_a_run_at_its_deadline(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> int:
        with batches.held():
            with pytest.raises(DeadlineExceeded):
                await batcher.acall(1, timeout=0.01)
            assert batches.seen == [[1]]
        return await batcher.acall(2)

    assert run(main()) == 4


def test_a_timeout_of_zero_is_always_exceeded(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches)

    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            await batcher.acall(1, timeout=0)

    run(main())
    assert batches.seen == []


def test_a_cancelled_call_is_not_computed(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> list[int]:
        with batches.held():
            tasks = await queue_tasks(batcher, batches, range(4))
            tasks.pop(2).cancel()
            await wait_async(lambda: batcher.waiting == 3)
        return await asyncio.gather(*tasks)

    assert run(main()) == [200, 0, 4, 6]
    assert batches.seen == [[100], [0, 2, 3]]


@pytest.mark.parametrize("known", [True, False], ids=["short", "long"])
def test_a_call_cancelled_within_the_tick_is_not_computed(run: Run, known: bool) -> None:
    batches = Batches()
    batcher = measured(batches) if known else Batcher("doubles", batches)

    async def main() -> list[int]:
        tasks = [asyncio.create_task(batcher.acall(item)) for item in range(4)]
        asyncio.get_running_loop().call_soon(tasks[2].cancel)
        del tasks[2]
        return await asyncio.gather(*tasks)

    assert run(main()) == [0, 2, 6]
    assert not any(2 in batch for batch in batches.seen)
    assert batcher.waiting == 0


def test_nothing_runs_once_all_tasks_are_cancelled(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> int:
        tasks = [asyncio.create_task(batcher.acall(item)) for item in range(4)]
        for task in tasks:
            asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.wait(tasks)
        return await batcher.acall(7)

    assert run(main()) == 14
    assert batches.seen == [[7]]


def test_a_loop_that_closes_during_its_run_does_not_block_others(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def leave() -> None:
        asyncio.create_task(batcher.acall(1))  # noqa: RUF006 - abandoned on purpose
        await wait_async(lambda: batches.seen)

    async def main() -> int:
        return await batcher.acall(2)

    with batches.held():
        run(leave())
    assert run(main()) == 4


def test_an_interrupted_loop_answers_once_it_is_resumed() -> None:
    batches = Batches()
    batcher = measured(batches)
    interrupts = iter([True])

    def run(items: Sequence[int]) -> Sequence[int]:
        if len(items) > 1 and next(interrupts, False):
            raise KeyboardInterrupt
        return batches(items)

    batcher._run = run
    loop = asyncio.new_event_loop()
    try:
        tasks = [loop.create_task(batcher.acall(item)) for item in range(4)]
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.wait(tasks))
        assert [task.result() for task in tasks if task.done()] == [0]
        loop.run_until_complete(asyncio.wait(tasks))
        assert [task.result() for task in tasks] == [0, 2, 4, 6]
    finally:
        loop.close()


def test_an_answered_call_does_not_keep_its_item_alive(run: Run) -> None:
    class Sample:
        pass

    batcher: Batcher[Sample, int] = Batcher("counts", lambda items: [1] * len(items))

    async def main() -> None:
        sample = Sample()
        gone = weakref.ref(sample)
        await batcher.acall(sample, timeout=1000.0)
        del sample
        await wait_async(lambda: gone() is None)

    run(main())


def test_a_failed_call_does_not_keep_its_item_alive(run: Run) -> None:
    class Sample:
        pass

    def fail(items: Sequence[Sample]) -> Sequence[Sample]:
        raise ValueError("bad")

    batcher: Batcher[Sample, Sample] = Batcher("fails", fail)

    async def main() -> None:
        sample = Sample()
        gone = weakref.ref(sample)
        try:
            await batcher.acall(sample)
        except ValueError:
            del sample
        else:
            pytest.fail("no error")
        await wait_async(lambda: gone() is None)  # the worker thread drops it too

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


def test_a_process_exits_while_a_task_waits() -> None:
    code = """
        import asyncio, threading, time
        from conduit_lab.runtime.batching.batcher import Batcher

        inside = threading.Event()

        def run(items):
            inside.set()
            time.sleep(0.1)
            print(items)
            return items

        batcher = Batcher("same", run)

        async def main():
            running = asyncio.create_task(batcher.acall(1))
            while not inside.is_set():
                await asyncio.sleep(0)
            waiting = asyncio.create_task(batcher.acall(2))
            await asyncio.sleep(0)

        asyncio.run(main())
    """
    assert script(code) == "[1]"
