"""A cached stage: equal calls run it once, and a change of what it is made of is seen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.flow.cached import Cached
from conduit_lab.flow.rag import Rag
from conduit_lab.flow.result_cache import Flight, ResultCache, copied
from conduit_lab.flow.sequential import Sequential
from conduit_lab.models.model import Model
from conduit_lab.vectors.store import VectorStore
from tests.runtime import graphs

SAMPLE = np.arange(4, dtype=np.float32)


class Counting(Stage):
    """A stage that counts its runs; `answer` makes the result."""

    name = "counting"
    revision: Any = None

    def __init__(self, answer: Callable[[Any], Any] = lambda value: value) -> None:
        self.answer = answer
        self.runs = 0

    def run(self, value: Any) -> Any:
        self.runs += 1
        return self.answer(value)


class Gate(Stage):
    """A stage that answers once it is opened, in a thread or in an event loop."""

    name = "gate"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.runs = 0
        self.entered = threading.Event()
        self.opened = threading.Event()

    def run(self, value: Any) -> Any:
        self.runs += 1
        self.entered.set()
        assert self.opened.wait(20)
        return self._end(value)

    async def arun(self, value: Any) -> Any:
        self.runs += 1
        self.entered.set()
        while not self.opened.is_set():
            await asyncio.sleep(0.001)
        return self._end(value)

    def _end(self, value: Any) -> Any:
        if self.error is not None:
            raise self.error
        return [value]


def waiting(cached: Cached, number: int) -> bool:
    flights = list(cached._cache._flights.values())
    return bool(flights) and flights[0].waiters == number


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(10_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it did not come true")


async def in_task(stage: Stage, value: Any) -> Any:
    return await stage.acall(value)


async def auntil(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come true")


def linear(path: Path, factor: float, labels: Any = None) -> Path:
    return graphs.linear(path, np.eye(4, dtype=np.float32) * factor, labels)


# Hits and misses


def test_an_equal_call_does_not_run_the_stage() -> None:
    stage = Counting()
    cached = Cached(stage)
    for _ in range(3):
        np.testing.assert_array_equal(cached({"x": SAMPLE.copy()})["x"], SAMPLE)
    assert (stage.runs, cached.hits, cached.misses) == (1, 2, 1)
    assert cached.size > SAMPLE.nbytes
    cached.clear()
    assert cached.size == 0
    cached({"x": SAMPLE})
    assert (stage.runs, cached.hits, cached.misses) == (2, 2, 2)


@pytest.mark.parametrize("answer", [[SAMPLE], {"x": SAMPLE}, (SAMPLE,), SAMPLE])
def test_a_caller_that_changes_a_result_changes_no_other(answer: Any) -> None:
    def first(result: Any) -> Any:
        return result["x"] if isinstance(result, dict) else result[0]

    expected = copied(first(answer))
    cached = Cached(lambda _: copied(answer))
    for _ in range(3):
        result = cached(1)
        np.testing.assert_array_equal(first(result), expected)
        array = result if isinstance(result, np.ndarray) else first(result)
        array += 1


class Named(np.ndarray[Any, Any]):
    """An array with an attribute, which NumPy's own copy drops."""

    names: list[str]

    def __array_finalize__(self, source: Any) -> None:
        self.names = []


def test_a_copy_of_an_array_of_a_subclass_is_whole() -> None:
    named = SAMPLE.view(Named)
    named.names = ["a"]
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    cached = Cached(lambda name: named if name == "named" else masked)
    for _ in range(2):
        array = cached("named")
        assert (type(array), array.names) == (Named, ["a"])
        np.testing.assert_array_equal(array, SAMPLE)
        assert cached("masked").mask.tolist() == [True, False]
    cached("named").names.append("b")
    cached("masked").mask[:] = True
    assert cached("named").names == ["a"]
    assert cached("masked").mask.tolist() == [True, False]


def test_the_trace_shows_a_hit_and_runs_no_stage() -> None:
    cached = Cached(Counting(), name="memory")
    with recorder.record("call") as trace:
        cached(1)
        cached(1)
    miss, hit = trace.root.children
    assert [span.name for span in miss.children] == ["counting"]
    assert "cached" not in miss.attributes
    assert hit.attributes["cached"] is True
    assert not hit.children
    assert "cached" in repr(trace)


@pytest.mark.parametrize(
    ("stage", "value", "reason"),
    [
        (Counting(str), Path("a"), "an input of the type "),
        (Counting(lambda value: iter([threading.Lock()])), 1, "a result of the type list_iterator"),
        (Counting(lambda value: bytes(10_000)), 1, "a result above the limit"),
    ],
)
def test_what_is_not_cacheable_just_runs_and_the_trace_says_so(
    stage: Counting, value: Any, reason: str
) -> None:
    cached = Cached(stage, bytes=5000)
    with recorder.record("call") as trace:
        for _ in range(2):
            cached(value)
    assert stage.runs == 2
    assert cached.hits == cached.size == 0
    assert f"not cacheable: {reason}" in trace["cached"].attributes["detail"]
    assert f"2 calls not cacheable: {reason}" in cached.statistics


def test_an_exception_is_not_kept() -> None:
    answers = iter([ValueError("no power"), 7])

    def answer(value: Any) -> Any:
        result = next(answers)
        if isinstance(result, Exception):
            raise result
        return result

    cached = Cached(answer)
    with pytest.raises(ValueError, match="no power"):
        cached(1)
    assert cached(1) == 7
    assert cached(1) == 7


def test_the_results_used_the_longest_ago_are_dropped() -> None:
    stage = Counting(lambda value: bytes(1000))
    cached = Cached(stage, bytes=4000)  # room for three
    for value in (1, 2, 3):
        cached(value)
    cached(1)
    cached(4)  # drops 2
    assert stage.runs == 4
    assert cached.size <= 4000
    for value in (1, 3, 4):
        cached(value)
    assert stage.runs == 4
    cached(2)
    assert stage.runs == 5


def test_a_stream_passes_through() -> None:
    class Chunks(Counting):
        def stream(self, value: Any, /) -> Stream[Any, Any]:
            self.runs += 1
            return Stream(iter([value]), name="chunks")

    stage = Chunks()
    cached = Cached(stage)
    assert [list(cached.stream(1)), list(cached.stream(1))] == [[1], [1]]
    assert stage.runs == 2


@pytest.mark.parametrize("bytes", [0, -1, 1.5, True, "1 MB"])
def test_a_limit_is_a_positive_number_of_bytes(bytes: Any) -> None:
    with pytest.raises(CompositionError, match="expected bytes of at least 1"):
        Cached(abs, bytes=bytes)


def test_settings_name_another_limit_only() -> None:
    assert Cached(abs)._settings() == {}
    assert Cached(abs, bytes=1000)._settings() == {"bytes": 1000}


# Batches


def test_a_batch_runs_the_missing_ones_together() -> None:
    class Batched(Counting):
        batches: tuple[Any, ...] = ()

        def batch(self, values: Any) -> list[Any]:
            self.batches = (*self.batches, list(values))
            return [value * 2 for value in values]

    stage = Batched(lambda value: value * 2)
    cached = Cached(stage)
    cached(1)
    with recorder.record("call") as trace:
        assert cached.batch([1, 2, 3, 2]) == [2, 4, 6, 4]
        assert cached.batch([3, 2]) == [6, 4]
    assert stage.batches == ([2, 3],)
    assert (cached.hits, cached.misses) == (4, 3)
    first, other = trace.root.children
    assert first.attributes["detail"] == "2 of 4 from the cache"
    assert (first.attributes["cached"], other.attributes["cached"]) == (False, True)
    assert cached.batch([]) == []


def test_equal_inputs_of_a_batch_share_no_result() -> None:
    cached = Cached(Counting(lambda value: [value]))
    one, other = cached.batch([1, 1])
    one.append(2)
    assert other == [1]
    assert cached(1) == [1]


def test_a_batch_of_results_without_a_copy_runs_each() -> None:
    stage = Counting(lambda value: threading.Lock())
    Cached(stage).batch([1, 1])
    assert stage.runs == 2


# Changes


def test_a_swapped_model_misses_and_the_old_one_hits_again(tmp_path: Path) -> None:
    one, three = linear(tmp_path / "one.onnx", 1), linear(tmp_path / "three.onnx", 3)
    model = Model(one)
    cached = Cached(Sequential(model, lambda row: row + 1))
    np.testing.assert_array_equal(cached(SAMPLE), SAMPLE + 1)
    model.swap(three)
    np.testing.assert_array_equal(cached(SAMPLE), 3 * SAMPLE + 1)
    model.swap(one)
    np.testing.assert_array_equal(cached(SAMPLE), SAMPLE + 1)
    assert (cached.hits, cached.misses) == (1, 2)


def test_a_model_swapped_during_a_call_leaves_nothing_behind(tmp_path: Path) -> None:
    one, three = linear(tmp_path / "one.onnx", 1), linear(tmp_path / "three.onnx", 3)
    model = Model(one)
    swaps = iter([three])

    def swap(row: Any) -> Any:
        if (path := next(swaps, None)) is not None:
            model.swap(path)
        return row

    cached = Cached(Sequential(swap, model))
    np.testing.assert_array_equal(cached(SAMPLE), 3 * SAMPLE)
    model.swap(one)
    np.testing.assert_array_equal(cached(SAMPLE), SAMPLE)


def test_another_revision_misses() -> None:
    stage = Counting()
    cached = Cached(stage)
    for revision, runs in ((None, 1), ("a", 2), ("a", 2), ("b", 3)):
        stage.revision = revision
        cached(1)
        assert stage.runs == runs


def test_a_changed_store_misses() -> None:
    class Letters:
        dimension = 2

        def encode(self, texts: Any) -> Any:
            if isinstance(texts, str):
                return np.array([texts.count("a"), texts.count("b")], np.float32)
            return np.stack([self.encode(text) for text in texts])

    class Echo:
        def generate(self, prompt: Any = None, *, query: Any = None, context: Any = ()) -> str:
            return " | ".join(context)

    with VectorStore(embedder=Letters()) as store:
        store.add("1", content="a")
        cached = Cached(Rag(store, Echo(), mode="dense"))
        assert [cached("aa")["response"], cached("aa")["response"]] == ["a", "a"]
        store.add("2", content="aaa")
        assert "aaa" in cached("aa")["response"]
    assert (cached.hits, cached.misses) == (1, 2)


def test_a_hit_touches_what_its_miss_touched() -> None:
    device = object()

    def touching(value: Any) -> Any:
        recorder.touch(store_read=device, fallback="other")
        return value

    def records(call: Callable[[], Any]) -> tuple[list[Any], list[str]]:
        with recorder.record("outer") as trace:
            call()
        return list(trace.record.read.values()), list(trace.record.fallbacks)

    cached = Cached(touching)
    cached(1)  # outside of a recorded call too
    expected = ([device], ["other"])
    assert records(lambda: cached(1)) == expected
    assert records(lambda: cached(2)) == expected
    assert records(lambda: cached.batch([3, 4])) == expected
    assert records(lambda: cached.batch([3, 4])) == expected
    assert records(lambda: cached.run(2)) == expected
    assert records(lambda: asyncio.run(in_task(cached, 2))) == expected
    assert cached.hits == 5


def test_other_stages_of_the_call_are_not_part_of_it() -> None:
    other, own = object(), object()

    def touching(value: Any) -> Any:
        recorder.touch(store_read=own)
        return value

    cached = Cached(touching)
    with recorder.record("outer"):
        recorder.touch(store_read=other)
        cached(1)
    with recorder.record("outer") as trace:
        cached(1)
    assert list(trace.record.read.values()) == [own]


def test_a_call_that_writes_to_a_store_is_not_cached() -> None:
    def writing(value: Any) -> Any:
        recorder.touch(store_write=store)
        return value

    store = object()
    cached = Cached(writing)
    cached(1)
    cached(1)
    assert cached.hits == 0
    assert "2 calls not cacheable: a call that writes to a store" in cached.statistics


def test_another_stage_in_its_place_misses() -> None:
    def plus(value: int) -> int:
        return value + 1

    cached = Cached(Sequential(plus))
    assert cached(1) == 2
    cached.stage = Sequential(lambda value: value + 2)
    assert cached(1) == 3


def test_children_made_at_each_access_are_the_same_stage() -> None:
    class Endpoint(Counting):
        @property
        def children(self) -> tuple[Stage, ...]:
            return (Function(abs),)

    cached = Cached(Endpoint())
    cached(1)
    cached(1)
    assert cached.hits == 1


# Concurrency


def test_equal_calls_of_threads_run_once() -> None:
    gate = Gate()
    cached = Cached(gate)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(cached(1))) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: waiting(cached, 2))
    gate.opened.set()
    for thread in threads:
        thread.join(20)
    assert results == [[1]] * 3
    assert len({id(result) for result in results}) == 3
    assert (gate.runs, cached.hits, cached.misses) == (1, 2, 1)
    assert not cached._cache._flights


def test_a_call_that_was_running_at_a_clear_is_not_kept() -> None:
    gate = Gate()
    cached = Cached(gate)
    thread = threading.Thread(target=cached, args=(1,))
    thread.start()
    assert gate.entered.wait(20)
    cached.clear()
    gate.opened.set()
    thread.join(20)
    assert cached.size == 0
    assert cached(1) == [1]
    assert gate.runs == 2


def test_the_exception_of_a_running_call_is_that_of_its_waiters() -> None:
    gate = Gate(ValueError("no power"))
    cached = Cached(gate)
    errors: list[str] = []

    def call() -> None:
        with pytest.raises(ValueError) as error:
            cached(1)
        errors.append(str(error.value))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: waiting(cached, 1))
    gate.opened.set()
    for thread in threads:
        thread.join(20)
    assert errors == ["no power"] * 2
    assert gate.runs == 1


def test_equal_calls_of_tasks_run_once_and_the_loop_stays_free() -> None:
    async def calls() -> list[Any]:
        gate = Gate()
        cached = Cached(gate)
        tasks = [asyncio.create_task(cached.acall(1)) for _ in range(3)]
        await auntil(lambda: waiting(cached, 2))
        gate.opened.set()
        assert await asyncio.gather(*tasks) == [[1]] * 3
        assert await cached.acall(1) == [1]
        return [gate.runs, cached.hits, cached.misses]

    assert asyncio.run(calls()) == [1, 3, 1]


def test_a_task_waits_for_a_thread_without_blocking_its_loop() -> None:
    gate = Gate()
    cached = Cached(gate)
    thread = threading.Thread(target=cached, args=(1,))
    thread.start()
    assert gate.entered.wait(20)

    async def call() -> Any:
        task = asyncio.create_task(cached.acall(1))
        await auntil(lambda: waiting(cached, 1))
        gate.opened.set()
        return await task

    assert asyncio.run(call()) == [1]
    thread.join(20)
    assert gate.runs == 1


def test_a_thread_does_not_wait_for_a_task_whose_loop_may_need_it() -> None:
    async def calls() -> list[Any]:
        gate = Gate()
        cached = Cached(gate)
        task = asyncio.create_task(cached.acall(1))
        await auntil(gate.entered.is_set)
        gate.opened.set()
        found = [cached(1)]  # blocks the loop in which the task runs
        return [*found, await task, gate.runs, cached.misses]

    assert asyncio.run(calls()) == [[1], [1], 2, 2]


def test_a_cancelled_call_leaves_its_waiters_their_result() -> None:
    async def calls() -> list[Any]:
        gate = Gate()
        cached = Cached(gate)
        first = asyncio.create_task(cached.acall(1))
        await auntil(gate.entered.is_set)
        others = [asyncio.create_task(cached.acall(1)) for _ in range(3)]
        await auntil(lambda: waiting(cached, 3))
        others[0].cancel()
        first.cancel()
        gate.opened.set()
        results = await asyncio.gather(first, *others, return_exceptions=True)
        assert [type(result) for result in results[:2]] == [asyncio.CancelledError] * 2
        return [*results[2:], gate.runs]

    assert asyncio.run(calls()) == [[1], [1], 2]


def test_waiters_of_a_result_without_a_copy_run_by_themselves() -> None:
    class Locks(Gate):
        def _end(self, value: Any) -> Any:
            return threading.Lock()

    gate = Locks()
    cached = Cached(gate)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(cached(1))) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: waiting(cached, 1))
    gate.opened.set()
    for thread in threads:
        thread.join(20)
    assert len(set(map(id, results))) == gate.runs == 2


def test_a_stage_that_calls_itself_with_the_same_value_is_an_error() -> None:
    stages: list[Stage] = []
    cached = Cached(lambda value: stages[0](value))
    stages.append(cached)
    with pytest.raises(CompositionError, match="its stage calls it with the same value"):
        cached(1)

    async def call() -> Any:
        return await cached.acall(1)

    with pytest.raises(CompositionError, match="its stage calls it with the same value"):
        asyncio.run(call())


def test_a_large_value_is_hashed_and_copied_off_the_loop() -> None:
    large = np.ones(2**17, np.float32)
    threads: set[int] = set()

    async def calls() -> Any:
        cached = Cached(Counting())
        keys = cached._keys.of

        def of(*args: Any) -> bytes:
            threads.add(threading.get_ident())
            return keys(*args)

        cached._keys.of = of  # type: ignore[method-assign, assignment]
        await cached.acall(large)
        result = await cached.acall(large)
        assert threading.get_ident() not in threads
        assert cached.hits == 1
        return result

    np.testing.assert_array_equal(asyncio.run(calls()), large)


def test_a_forked_child_begins_empty() -> None:
    cache = ResultCache(1000)
    cache.find(b"key", of_task=False)
    cache._lock.acquire()  # as another thread would hold it
    cache.reset()
    found, begins = cache.find(b"key", of_task=False)
    assert isinstance(found, Flight)
    assert begins
