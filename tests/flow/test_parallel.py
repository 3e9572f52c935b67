"""Parallel: several stages on the same value, on threads if that is faster."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.trace import Trace
from conduit_lab.flow import parallel, workers
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.route import Route
from conduit_lab.flow.sequential import Sequential
from conduit_lab.flow.thread_plan import TRIAL_RUNS
from tests.flow.test_deadline import until

SECONDS = 20.0


def plus(value: int) -> int:
    return value + 1


def fail(value: Any) -> Any:
    raise RuntimeError("no power")


def nap(value: Any) -> Any:
    sleep(0.002)
    return value


def wait(value: Any) -> Any:
    sleep(0.05)  # much longer than a busy machine takes to start three threads
    return value


def on_threads(stages: dict[str, Any], name: str = "parallel") -> Parallel:
    """Return a Parallel whose runs have been measured and found to wait."""
    made = Parallel(stages, name=name)
    made._plan.ran_in_order(dict.fromkeys(stages, 1.0), 0.0)
    assert made.decision.threaded
    return made


def in_order(stages: dict[str, Any], name: str = "parallel") -> Parallel:
    made = Parallel(stages, name=name)
    made._plan.ran_in_order(dict.fromkeys(stages, 1e-6), 1e-6)
    assert not made.decision.threaded
    return made


both = pytest.mark.parametrize("make", [on_threads, in_order, Parallel])


@both
def test_results_come_by_name_in_the_order_of_the_stages(make: Callable[..., Parallel]) -> None:
    got = make({"slow": nap, "b": plus, "a": str})(1)
    assert list(got.items()) == [("slow", 1), ("b", 2), ("a", "1")]


@both
def test_the_spans_of_the_members_are_under_its_own(make: Callable[..., Parallel]) -> None:
    stage = make({"x": Sequential(plus, str, name="inner"), "y": nap}, name="both")
    with recorder.record("call") as trace:
        stage(1)
    assert sorted(span.name for span in trace["both"].children) == ["inner", "nap"]
    assert [span.name for span in trace["inner"].children] == ["plus", "str"]
    assert trace["both"].output == {"x": "2", "y": 1}


def test_members_that_wait_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3)

    def meet(value: Any) -> Any:
        barrier.wait(SECONDS)
        return threading.get_ident()

    threads = set(on_threads({"a": meet, "b": meet, "c": meet})(1).values())
    assert len(threads) == 3
    assert threading.get_ident() not in threads


def test_measured_waits_choose_threads() -> None:
    stage = Parallel({"a": wait, "b": wait, "c": wait})
    for _ in range(TRIAL_RUNS + 1):
        stage(1)
    decision = stage.decision
    assert decision.threaded
    assert decision.reason.startswith("measured: ")
    assert set(decision.seconds) == {"a", "b", "c"}
    assert all(seconds >= 0.05 for seconds in decision.seconds.values())


def test_fast_members_stay_on_the_thread_of_the_caller() -> None:
    stage = Parallel({"a": lambda value: threading.get_ident(), "b": plus})
    for _ in range(5):
        assert stage(1)["a"] == threading.get_ident()
    assert not stage.decision.threaded
    assert stage.decision.reason.startswith("threads would save at most")


def test_one_member_has_nothing_to_run_beside() -> None:
    assert Parallel({"a": nap})(1) == {"a": 1}
    assert Parallel({"a": nap}).decision.reason == "there is nothing to run beside"
    assert Parallel({})(1) == {}


def test_members_that_become_slow_are_measured_again() -> None:
    slow = threading.Event()

    def member(value: Any) -> Any:
        return wait(value) if slow.is_set() else value

    stage = Parallel({"a": member, "b": member})
    for _ in range(5):
        stage(1)
    assert not stage.decision.threaded
    slow.set()
    for _ in range(TRIAL_RUNS + 2):
        stage(1)
    assert stage.decision.threaded


@both
def test_a_failure_is_raised_as_it_is(make: Callable[..., Parallel]) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no power"):
            make({"a": plus, "b": fail, "c": nap})(1)


def test_the_first_failure_in_time_is_raised_without_waiting_for_the_others(
    gate: threading.Event,
) -> None:
    begun = threading.Event()

    def fail_once_begun(value: Any) -> Any:
        assert begun.wait(SECONDS)
        raise RuntimeError("no power")

    def wait_and_fail(value: Any) -> Any:
        begun.set()
        gate.wait(SECONDS)
        raise OSError("later")

    stage = on_threads({"a": Sequential(str, wait_and_fail), "b": fail_once_begun})
    with recorder.record("call") as trace, pytest.raises(RuntimeError, match="no power"):
        stage(1)
    assert not gate.is_set()
    assert all(span.ended for span in trace)
    assert isinstance(trace["sequential"].error, asyncio.CancelledError)
    gate.set()
    until(lambda: not workers._busy)


def numbers(gate: threading.Event) -> Iterator[int]:
    while not gate.is_set():
        yield 1
        gate.wait(0.001)


@both
def test_a_failure_cancels_the_streams_of_the_others(
    make: Callable[..., Parallel], gate: threading.Event
) -> None:
    streams: list[Stream[int]] = []

    def begin(value: Any) -> Any:
        streams.append(Stream(numbers(gate)))
        return streams[0]

    def fail_then(value: Any) -> Any:
        until(lambda: streams)
        raise RuntimeError("no power")

    with pytest.raises(RuntimeError, match="no power"):
        make({"a": begin, "b": fail_then})(1)
    assert streams[0].state == "cancelled"


def test_a_failure_cancels_a_stream_that_another_member_reads(gate: threading.Event) -> None:
    streams: list[Stream[int]] = []

    def read(value: Any) -> Any:
        streams.append(Stream(numbers(gate)))
        return streams[0].result()

    def fail_then(value: Any) -> Any:
        until(lambda: streams)
        raise RuntimeError("no power")

    with pytest.raises(RuntimeError, match="no power"):
        on_threads({"a": read, "b": fail_then})(1)
    assert streams[0].state == "cancelled"
    until(lambda: not workers._busy)


@both
def test_streams_that_are_results_go_on(
    make: Callable[..., Parallel], gate: threading.Event
) -> None:
    stage = make({"a": lambda value: Stream(numbers(gate)), "b": plus})
    stream = stage(1)["a"]
    assert next(iter(stream)) == 1
    assert stream.state == "running"
    gate.set()
    stream.wait(SECONDS)


def test_nested_ones_run_in_order_where_no_thread_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    until(lambda: not workers._busy)
    monkeypatch.setattr(parallel, "MAX_BUSY_THREADS", 4)

    busy = []

    def leaf(value: Any) -> Any:
        busy.append(workers._busy)
        return nap(value)

    def tree(depth: int) -> Stage:
        if depth == 0:
            return Function(leaf)
        return on_threads({"l": tree(depth - 1), "r": tree(depth - 1)})

    stage = tree(4)

    def expected(depth: int) -> Any:
        return 7 if depth == 0 else {"l": expected(depth - 1), "r": expected(depth - 1)}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(stage, [7] * 16)) == [expected(4)] * 16
    assert max(busy) == 4
    assert workers._busy == 0


def test_many_threads_run_one_tree_with_the_right_answers_and_whole_traces() -> None:
    tree = Sequential(
        on_threads({"left": plus, "right": Fallback(fail, abs, name="safe")}, name="fork"),
        lambda found: found["left"] * 1000 + found["right"],
        Ensemble([plus, nap], sum, name="vote"),
        Route(lambda value: "odd" if value % 2 else "even", {"odd": plus, "even": nap}),
        Parallel({"value": nap, "text": str}, name="end"),
        name="tree",
    )

    def call(value: int) -> tuple[Any, Trace]:
        with recorder.record(f"call {value}") as trace:
            answer = tree(value)
        return answer, trace

    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(call, range(200)))
    shape = ["call", "tree", "fork", "abs", "fail", "plus", "safe", "<lambda>", "vote"]
    for value, (answer, trace) in enumerate(done):
        total = 2 * ((value + 1) * 1000 + value) + 1  # always odd
        assert answer == {"value": total + 1, "text": str(total + 1)}
        names = [span.name for span in trace]
        assert names[0] == f"call {value}"
        assert names[1:3] == ["tree", "fork"]
        assert sorted(names[3:7]) == shape[3:7]
        assert names[7:15] == ["<lambda>", "vote", "plus", "nap", "sum", "route", "plus", "end"]
        assert sorted(names[15:]) == ["nap", "str"]  # on threads where runs take long
        assert all(span.ended for span in trace)
        assert trace.record.spans == len(names)
        assert list(trace.record.fallbacks) == ["abs"]


@pytest.mark.parametrize("stages", [[plus], plus, None])
def test_its_stages_are_a_dict(stages: Any) -> None:
    with pytest.raises(CompositionError, match="'mine' expected a dict of stages by name, got"):
        Parallel(stages, name="mine")


# In an event loop


def acall(stage: Stage, value: Any) -> Any:
    async def main() -> Any:
        return await stage.acall(value)

    return asyncio.run(main())


def test_awaited_a_failure_cancels_the_streams_of_the_others(gate: threading.Event) -> None:
    streams: list[Stream[int]] = []

    async def read(value: Any) -> Any:
        streams.append(Stream(numbers(gate)))
        return await streams[0]

    async def fail_then(value: Any) -> Any:
        while not streams:
            await asyncio.sleep(0)
        raise RuntimeError("no power")

    with pytest.raises(RuntimeError, match="no power"):
        acall(Parallel({"a": read, "b": fail_then}), 1)
    assert streams[0].state == "cancelled"


def test_awaited_a_cancellation_from_outside_cancels_all(gate: threading.Event) -> None:
    streams: list[Stream[int]] = []
    cancelled = []

    async def read(value: Any) -> Any:
        streams.append(Stream(numbers(gate)))
        try:
            return await streams[0]
        except asyncio.CancelledError:
            cancelled.append(value)
            raise

    async def main() -> None:
        nested = Parallel({"a": read, "b": Parallel({"c": read})})
        task = asyncio.ensure_future(nested.acall(1))
        while len(streams) < 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert cancelled == [1, 1]
    assert [stream.state for stream in streams] == ["cancelled", "cancelled"]


def test_awaited_a_function_that_hangs_is_abandoned_at_the_first_failure(
    gate: threading.Event,
) -> None:
    began = threading.Event()

    def hang(value: Any) -> Any:
        began.set()
        return gate.wait(SECONDS)

    async def fail_then(value: Any) -> Any:
        while not began.is_set():
            await asyncio.sleep(0.001)
        raise RuntimeError("no power")

    async def main() -> bool:
        with pytest.raises(RuntimeError, match="no power"):
            await Parallel({"a": hang, "b": fail_then}).acall(1)
        return gate.is_set()

    assert asyncio.run(main()) is False
