"""Batcher: calls from tasks of event loops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
import uvloop

from conduit_lab.core.errors import Overloaded
from conduit_lab.runtime.batching import batcher as batcher_module
from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.batching.run_times import SHORT_RUN_SECONDS
from tests.runtime.batching.batches import Batches, measured, queue_tasks, wait_async, wait_until

pytestmark = pytest.mark.alone

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """A function that runs a coroutine in a new event loop; no thread may outlive it."""
    before = set(threading.enumerate())
    yield request.param
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_a_short_call_of_one_task_runs_inline(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches)

    async def main() -> None:
        await batcher.acall(0)  # a task's first call yields
        others: list[int] = []
        asyncio.get_running_loop().call_soon(others.append, 1)
        assert await batcher.acall(21) == 42
        assert others == []  # it was not suspended

    run(main())
    assert set(batches.threads) == {threading.get_ident()}


def test_an_unmeasured_run_is_off_the_loop(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> int:
        call = asyncio.create_task(batcher.acall(21))
        await wait_async(lambda: batches.seen)
        batches.pass_one()  # the loop is free while it runs
        return await call

    with batches.held():
        assert run(main()) == 42
    assert threading.get_ident() not in batches.threads


def test_long_runs_are_off_the_loop_and_those_that_become_short_are_not(run: Run) -> None:
    batches = Batches(4 * SHORT_RUN_SECONDS)
    batcher = Batcher("doubles", batches)

    async def main() -> None:
        for _ in range(3):
            await batcher.acall(0)
        assert threading.get_ident() not in batches.threads
        batches.seconds = 0.0
        for _ in range(8):
            await batcher.acall(0)
        assert batches.threads[-1] == threading.get_ident()

    run(main())


def test_one_slow_run_does_not_move_the_next_to_a_thread(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches)

    async def main() -> None:
        batches.seconds = 2 * SHORT_RUN_SECONDS
        await batcher.acall(0)
        batches.seconds = 0.0
        await batcher.acall(0)

    run(main())
    assert set(batches.threads) == {threading.get_ident()}


def test_a_run_that_waits_for_a_device_counts_as_long(run: Run) -> None:
    threads = []

    def wait(items: Sequence[int]) -> Sequence[int]:
        threads.append(threading.get_ident())
        time.sleep(0.03)  # almost no CPU time
        return items

    batcher = Batcher("device", wait)

    async def main() -> None:
        for _ in range(3):
            await batcher.acall(0)

    run(main())
    assert threading.get_ident() not in threads


def test_the_calls_of_one_tick_are_coalesced(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches)

    async def main() -> list[int]:
        return await asyncio.gather(*(batcher.acall(item) for item in range(64)))

    assert run(main()) == list(range(0, 128, 2))
    # the first call ran before the others arrived
    assert batches.seen == [[0], list(range(1, 64))]
    assert set(batches.threads) == {threading.get_ident()}


def test_tasks_are_coalesced_until_only_one_calls(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches)

    async def caller(item: int) -> None:
        for _ in range(3):
            assert await batcher.acall(item) == 2 * item

    async def main() -> None:
        await asyncio.gather(*map(caller, range(5)))
        assert max(map(len, batches.seen[1:])) >= 4
        await batcher.acall(0)  # still waits for a tick
        await batcher.acall(0)
        others: list[int] = []
        asyncio.get_running_loop().call_soon(others.append, 1)
        await batcher.acall(0)
        assert others == []  # it was not suspended

    run(main())


def test_batches_of_a_tick_are_counted_in_rows(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches, max_rows=8)

    async def main() -> list[int]:
        rows = [1, 3, 3, 3, 9, 1, 0]
        return await asyncio.gather(
            *(batcher.acall(item, count) for item, count in enumerate(rows))
        )

    assert run(main()) == list(range(0, 14, 2))
    assert batches.seen == [[0], [1, 2], [3], [4], [5, 6]]


def test_calls_during_a_long_run_are_coalesced(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> list[int]:
        with batches.held():
            tasks = await queue_tasks(batcher, batches, range(5))
        return await asyncio.gather(*tasks)

    assert run(main()) == [200, 0, 2, 4, 6, 8]
    assert batches.seen == [[100], [0, 1, 2, 3, 4]]


def test_a_task_that_never_waits_yields_to_others(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches)

    async def main() -> None:
        others: list[int] = []
        await batcher.acall(0)
        asyncio.get_running_loop().call_soon(others.append, 1)
        for _ in range(1000):
            await batcher.acall(0)
        assert others

    run(main())


def test_two_tasks_that_never_wait_are_coalesced(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches)

    async def caller(item: int) -> None:
        for _ in range(1500):
            assert await batcher.acall(item) == 2 * item

    async def main() -> None:
        await asyncio.gather(caller(1), caller(2))

    run(main())
    assert any(len(batch) == 2 for batch in batches.seen)


def test_only_a_bad_item_fails(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches)

    async def main() -> list[int | BaseException]:
        items = [0, 1, 2, -3, 4, -5, 6]
        return await asyncio.gather(*map(batcher.acall, items), return_exceptions=True)

    answers = run(main())
    assert [str(answers.pop(3)), str(answers.pop(4))] == ["[-3] are negative", "[-5] are negative"]
    assert answers == [0, 2, 4, 8, 12]


def test_a_full_tick_rejects_calls(run: Run) -> None:
    batches = Batches()
    batcher = measured(batches, queue_rows=3)

    async def main() -> list[int | BaseException]:
        return await asyncio.gather(*map(batcher.acall, range(6)), return_exceptions=True)

    *answers, fourth, fifth = run(main())
    assert answers == [0, 2, 4, 6]
    for error in (fourth, fifth):
        assert isinstance(error, Overloaded)


def test_a_full_queue_rejects_calls_and_answers_the_queued_ones(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches, queue_rows=3)

    async def main() -> list[int]:
        with batches.held():
            tasks = await queue_tasks(batcher, batches, range(3))
            with pytest.raises(Overloaded):
                await batcher.acall(7)
        return [*await asyncio.gather(*tasks), await batcher.acall(7)]

    assert run(main()) == [200, 0, 2, 4, 14]


def test_an_empty_item_takes_a_place_in_the_queue(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> list[int]:
        with batches.held():
            tasks = await queue_tasks(batcher, batches, [1])
            tasks.append(asyncio.create_task(batcher.acall(2, rows=0)))
            await wait_async(lambda: batcher.waiting == 2)
        return await asyncio.gather(*tasks)

    assert run(main()) == [200, 2, 4]


def test_threads_and_tasks_share_the_queue(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches, max_rows=2)

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Future[int]] = []
        with batches.held():
            tasks.append(asyncio.create_task(batcher.acall(100)))
            await wait_async(lambda: batches.seen)
            for item in range(8):  # a thread, two tasks, a thread, …
                if item % 3:
                    tasks.append(asyncio.create_task(batcher.acall(item)))
                else:
                    tasks.append(loop.run_in_executor(None, batcher.call, item))
                await wait_async(lambda: batcher.waiting == len(tasks) - 1)
        return await asyncio.gather(*tasks)

    assert run(main()) == [200, *range(0, 16, 2)]
    assert batches.seen == [[100], [0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_blocking_call_on_the_loop_waits_for_the_thread(run: Run) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)

    async def main() -> list[int]:
        with batches.held():
            tasks = await queue_tasks(batcher, batches, [1])
            free = threading.Timer(0.01, batches.pass_one)
            free.start()
            batches.pass_one()
            answer = batcher.call(2)
            free.join()
        return [answer, *await asyncio.gather(*tasks)]

    assert run(main()) == [4, 200, 2]


def test_several_loops_share_the_queue() -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)
    answers = {}

    async def main(base: int) -> list[int]:
        return await asyncio.gather(*(batcher.acall(base + i) for i in range(10)))

    def work(base: int) -> None:
        answers[base] = asyncio.run(main(base))

    with batches.held():
        threads = [threading.Thread(target=work, args=(base,)) for base in (0, 100, 200)]
        threads[0].start()
        wait_until(lambda: batches.seen)
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: batcher.waiting == 20)
    for thread in threads:
        thread.join()
    assert answers == {base: [2 * (base + i) for i in range(10)] for base in (0, 100, 200)}
    assert [len(batch) for batch in batches.seen] == [10, 20]


def test_a_batch_runs_on_the_loop_if_no_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    batches = Batches()
    batcher = Batcher("doubles", batches)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert asyncio.run(batcher.acall(21)) == 42


def test_long_batches_that_follow_each_other_use_one_thread(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher_module, "_LINGER_SECONDS", 2.0)
    batches = Batches(4 * SHORT_RUN_SECONDS)
    batcher = measured(batches)

    async def main() -> None:
        for _ in range(20):
            await batcher.acall(1)

    batches.threads.clear()
    run(main())
    others = set(batches.threads) - {threading.get_ident()}
    assert len(batches.threads) == 20
    assert len(others) == 1
