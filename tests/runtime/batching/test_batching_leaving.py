"""Tasks that wait no longer: their deadline is past, they were cancelled, their loop or process ends."""

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
from tests.runtime.batching.batches import Batches, measured, script, soon, until, waiting

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine in a new event loop; no thread may be left afterwards."""
    before = set(threading.enumerate())
    yield request.param
    until(lambda: set(threading.enumerate()) <= before)


def test_a_call_past_its_deadline_is_not_computed(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> list[int]:
        with batches.held():
            tasks = await waiting(batcher, batches, [1])
            with pytest.raises(DeadlineExceeded, match="'doubles' had no answer by the deadline"):
                await batcher.acall(2, timeout=0.01)
            assert batcher.waiting == 1
        return await asyncio.gather(*tasks)

    assert run(main()) == [200, 2]
    assert batches.seen == [[100], [1]]


def test_a_deadline_that_passes_while_the_loop_is_blocked_counts(run: Run) -> None:
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


def test_a_run_under_way_is_left_at_the_deadline(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> int:
        with batches.held():
            with pytest.raises(DeadlineExceeded):
                await batcher.acall(1, timeout=0.01)
            assert batches.seen == [[1]]
        return await batcher.acall(2)

    assert run(main()) == 4


def test_no_time_at_all_is_too_late_even_when_nobody_runs(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches)

    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            await batcher.acall(1, timeout=0)

    run(main())
    assert batches.seen == []


def test_a_call_whose_caller_left_is_not_computed(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> list[int]:
        with batches.held():
            tasks = await waiting(batcher, batches, range(4))
            tasks.pop(2).cancel()
            await soon(lambda: batcher.waiting == 3)
        return await asyncio.gather(*tasks)

    assert run(main()) == [200, 0, 4, 6]
    assert batches.seen == [[100], [0, 2, 3]]


@pytest.mark.parametrize("known", [True, False], ids=["short", "long"])
def test_a_caller_that_leaves_within_the_tick_is_not_computed(run: Run, known: bool) -> None:
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


def test_when_all_leave_nothing_runs(run: Run) -> None:
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


def test_a_loop_that_ends_during_its_run_hurts_nobody(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def leave() -> None:
        asyncio.create_task(batcher.acall(1))  # noqa: RUF006 - is left alone on purpose
        await soon(lambda: batches.seen)

    async def main() -> int:
        return await batcher.acall(2)

    with batches.held():
        run(leave())
    assert run(main()) == 4


def test_an_interrupted_loop_answers_when_it_goes_on() -> None:
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


def test_an_answer_keeps_nothing_alive_until_its_deadline(run: Run) -> None:
    class Sample:
        pass

    batcher: Batcher[Sample, int] = Batcher("counts", lambda items: [1] * len(items))

    async def main() -> None:
        sample = Sample()
        gone = weakref.ref(sample)
        await batcher.acall(sample, timeout=1000.0)
        del sample
        await soon(lambda: gone() is None)

    run(main())


def test_an_error_keeps_nothing_alive(run: Run) -> None:
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
        await soon(lambda: gone() is None)  # the thread that ran it lets go too

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


def test_a_process_ends_while_a_task_waits() -> None:
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
