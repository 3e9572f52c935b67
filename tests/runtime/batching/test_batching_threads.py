"""Batcher: calls from threads."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from conduit_lab.core.errors import DeadlineExceeded, Overloaded
from conduit_lab.runtime.batching import batcher as batcher_module
from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.batching.run_times import SHORT_RUN_SECONDS
from tests.runtime.batching.batches import PATIENCE, Batches, measured, script, wait_until

pytestmark = pytest.mark.alone


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def enqueue(
    pool: ThreadPoolExecutor, batcher: Batcher[int, int], items: Sequence[int]
) -> list[Future[int]]:
    """Call from threads, one after the other, and return once all wait in the queue."""
    futures = []
    for item in items:
        expected = batcher.waiting + 1
        futures.append(pool.submit(batcher.call, item))
        wait_until(lambda: batcher.waiting == expected)  # noqa: B023 - called in this round
    return futures


def first(pool: ThreadPoolExecutor, batches: Batches, batcher: Batcher[int, int]) -> Future[int]:
    """Call with 100 from a thread, and return once it runs."""
    future = pool.submit(batcher.call, 100)
    wait_until(lambda: batches.seen)
    return future


def results(futures: Sequence[Future[int]]) -> list[int]:
    return [future.result(PATIENCE) for future in futures]


def test_a_call_runs_in_its_own_thread_if_none_runs() -> None:
    batches = Batches()
    assert Batcher("doubles", batches).call(21) == 42
    assert batches.seen == [[21]]
    assert batches.threads == [threading.get_ident()]


def test_calls_during_a_run_are_coalesced(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)
    with batches.held():
        running = first(pool, batches, batcher)
        futures = enqueue(pool, batcher, range(5))
    assert results([running, *futures]) == [200, 0, 2, 4, 6, 8]
    assert batches.seen == [[100], [0, 1, 2, 3, 4]]
    assert batcher.waiting == 0


def test_batches_are_counted_in_rows(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches, max_rows=4)
    with batches.held():
        running = first(pool, batches, batcher)
        futures = []
        for item, rows in ((1, 2), (2, 2), (3, 1), (4, 3), (5, 0)):
            before = batcher.waiting
            futures.append(pool.submit(batcher.call, item, rows))
            wait_until(lambda: batcher.waiting > before)  # noqa: B023 - called in this round
    assert results([running, *futures]) == [200, 2, 4, 6, 8, 10]
    assert batches.seen == [[100], [1, 2], [3, 4], [5]]


def test_an_item_of_max_rows_does_not_wait_for_others(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = measured(batches, max_rows=4)
    with batches.held():
        running = pool.submit(batcher.call, 1, 4)
        wait_until(lambda: batches.seen)
        second = pool.submit(batcher.call, 2, 5)
        wait_until(lambda: len(batches.seen) == 2)
    assert results([running, second]) == [2, 4]


def test_a_long_item_of_max_rows_does_not_wait_for_others(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches, max_rows=4)  # an unmeasured run counts as long
    with batches.held():
        calls = [pool.submit(batcher.call, item, 4) for item in (1, 2)]
        wait_until(lambda: len(batches.seen) == 2)
    assert results(calls) == [2, 4]


def test_every_thread_runs_at_most_one_batch(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches, max_rows=2)
    with batches.held():
        running = first(pool, batches, batcher)
        futures = enqueue(pool, batcher, range(8))
    assert results([running, *futures]) == [200, *range(0, 16, 2)]
    assert len(batches.seen) == 5
    assert len(set(batches.threads)) == 5


def test_short_runs_are_not_coalesced(pool: ThreadPoolExecutor) -> None:
    together = threading.Barrier(2)
    meet = False

    def run(items: Sequence[int]) -> Sequence[int]:
        if meet:
            together.wait(PATIENCE)  # passes only with two threads in here
        return items

    batcher = Batcher("same", run)
    batcher.call(0)
    meet = True
    assert results([pool.submit(batcher.call, 1), pool.submit(batcher.call, 2)]) == [1, 2]


def test_at_most_256_short_runs_pass_between_two_measured_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batcher: Batcher[int, int] = Batcher("same", lambda items: items)
    batcher.call(0)
    measured_runs = []
    measure = batcher._measured

    def counted(items: Sequence[int], rows: int) -> Sequence[int]:
        measured_runs.append(items)
        return measure(items, rows)

    monkeypatch.setattr(batcher, "_measured", counted)
    for item in range(3 * 257):
        batcher.call(item)
    assert len(measured_runs) >= 2


def test_runs_that_become_long_are_coalesced(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher_module, "BUDGET_SECONDS", 0.0)  # every run is measured
    batches = Batches()
    batcher = measured(batches)
    batches.seconds = 4 * SHORT_RUN_SECONDS
    for _ in range(4):
        batcher.call(0)
    batches.reset()
    with batches.held():
        running = first(pool, batches, batcher)
        futures = enqueue(pool, batcher, range(3))
    assert results([running, *futures]) == [200, 0, 2, 4]
    assert batches.seen == [[100], [0, 1, 2]]


def test_a_full_queue_rejects_calls_and_answers_the_queued_ones(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches, queue_rows=3)
    with batches.held():
        running = first(pool, batches, batcher)
        futures = enqueue(pool, batcher, range(3))
        with pytest.raises(
            Overloaded, match="'doubles' has 3 rows waiting and accepts at most 3: 1 more"
        ):
            batcher.call(7)
    assert results([running, *futures]) == [200, 0, 2, 4]
    assert batcher.call(7) == 14


def test_an_item_larger_than_the_queue_is_accepted_by_an_empty_one() -> None:
    batches = Batches()
    assert Batcher("doubles", batches, max_rows=64, queue_rows=8).call(1, rows=32) == 2


def test_a_call_past_its_deadline_is_not_computed(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)
    with batches.held():
        running = first(pool, batches, batcher)
        futures = enqueue(pool, batcher, [1])
        with pytest.raises(DeadlineExceeded, match="'doubles' had no answer by the deadline"):
            batcher.call(2, timeout=0.01)
        assert batcher.waiting == 1
    assert results([running, *futures]) == [200, 2]
    assert batches.seen == [[100], [1]]


def test_a_call_in_another_threads_batch_ends_at_its_deadline(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)
    with batches.held():
        running = first(pool, batches, batcher)
        futures = enqueue(pool, batcher, [1])
        late = pool.submit(batcher.call, 2, 1, 0.2)
        wait_until(lambda: batcher.waiting == 2)
        batches.pass_one()
        wait_until(lambda: len(batches.seen) == 2)  # the late call is in this batch
        assert isinstance(late.exception(PATIENCE), DeadlineExceeded)
    assert results([running, *futures]) == [200, 2]


def test_a_timeout_of_zero_is_always_exceeded() -> None:
    batches = Batches()
    with pytest.raises(DeadlineExceeded):
        measured(batches).call(1, timeout=0)
    assert batches.seen == []


def test_only_a_bad_item_fails(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)
    with batches.held():
        running = first(pool, batches, batcher)
        futures = enqueue(pool, batcher, [1, 2, -3, 4, -5])
    errors = [future.exception(PATIENCE) for future in futures]
    assert [str(error) for error in errors if error] == ["[-3] are negative", "[-5] are negative"]
    contexts = [error.__context__ for error in errors if error]
    assert contexts == [None, None]  # no call sees another's error
    assert results([running, futures[0], futures[1], futures[3]]) == [200, 2, 4, 8]


def test_a_run_with_too_few_answers_gives_no_wrong_answer(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher: Batcher[int, int] = Batcher(
        "doubles", lambda items: batches(items)[: 1 if 3 in items else None]
    )
    with batches.held():
        running = first(pool, batches, batcher)
        futures = enqueue(pool, batcher, range(5))
    assert results([running, *futures]) == [200, 0, 2, 4, 6, 8]


@pytest.mark.parametrize("kind", [StopIteration, SystemExit, GeneratorExit])
def test_odd_errors_stay_with_their_item(
    pool: ThreadPoolExecutor, kind: type[BaseException]
) -> None:
    batches = Batches()

    def run(items: Sequence[int]) -> Sequence[int]:
        answers = batches(items)
        if 3 in items:
            raise kind
        return answers

    batcher = Batcher("doubles", run)
    with batches.held():
        running = first(pool, batches, batcher)
        futures = enqueue(pool, batcher, range(5))
    assert isinstance(futures.pop(3).exception(PATIENCE), kind)
    assert results([running, *futures]) == [200, 0, 2, 4, 8]


def test_an_interrupt_fails_only_its_own_call(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    interrupts = iter([False, True])

    def run(items: Sequence[int]) -> Sequence[int]:
        answers = batches(items)
        if next(interrupts, False):
            raise KeyboardInterrupt
        return answers

    batcher = Batcher("doubles", run)
    with batches.held():
        running = first(pool, batches, batcher)
        interrupted, *others = enqueue(pool, batcher, range(5))
    assert isinstance(interrupted.exception(PATIENCE), KeyboardInterrupt)
    assert results([running, *others]) == [200, 2, 4, 6, 8]
    assert batches.seen == [[100], [0, 1, 2, 3, 4], [1, 2, 3, 4]]


def test_an_interrupted_caller_leaves_the_queue(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches)
    here = threading.get_ident()

    def interrupt() -> None:
        wait_until(lambda: batcher.waiting)
        signal.pthread_kill(here, signal.SIGINT)  # as the kernel does

    with batches.held():
        running = first(pool, batches, batcher)
        done = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            batcher.call(1)
        done.result(PATIENCE)
        assert batcher.waiting == 0
    assert results([running]) == [200]
    assert batches.seen == [[100]]


def test_a_failed_call_does_not_keep_its_item_alive() -> None:
    class Sample:
        pass

    def run(items: Sequence[Sample]) -> Sequence[Sample]:
        raise ValueError("bad")

    batcher: Batcher[Sample, Sample] = Batcher("fails", run)
    sample = Sample()
    gone = weakref.ref(sample)
    gc.disable()
    try:
        with pytest.raises(ValueError, match="bad") as caught:
            batcher.call(sample)
        del caught, sample
        assert gone() is None
    finally:
        gc.enable()


def test_a_forked_child_has_a_queue_of_its_own() -> None:
    code = """
        import os, threading
        from conduit_lab.runtime.batching.batcher import Batcher

        inside, free = threading.Event(), threading.Event()

        def run(items):
            inside.set()
            free.wait()
            return items

        batcher = Batcher("same", run)
        threads = [threading.Thread(target=batcher.call, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        inside.wait()
        while batcher.waiting < 2:
            pass
        child = os.fork()
        if not child:
            free.set()
            os._exit(batcher.call(7))
        status = os.waitpid(child, 0)[1]
        free.set()
        for thread in threads:
            thread.join()
        print(os.waitstatus_to_exitcode(status), batcher.waiting)
    """
    assert script(code) == "7 0"


def test_an_empty_item_takes_one_place(pool: ThreadPoolExecutor) -> None:
    batches = Batches()
    batcher = Batcher("doubles", batches, max_rows=256, queue_rows=8192)
    with batches.held():
        first = pool.submit(batcher.call, 1)
        wait_until(lambda: batches.seen)
        empty = pool.submit(batcher.call, 2, 0)
        wait_until(lambda: batcher.waiting)
        assert batcher.waiting == 1
    assert (first.result(), empty.result()) == (2, 4)
