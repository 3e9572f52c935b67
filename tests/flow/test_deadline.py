"""Calls with a deadline, from a thread and from an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from conduit_lab.core.errors import DeadlineExceeded, InputError, Overloaded
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.trace import Trace
from conduit_lab.flow import deadline, workers
from conduit_lab.flow.deadline import acall_within, call_within
from conduit_lab.flow.sequential import Sequential

SECONDS = 20.0
SOON = 0.02


def until(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(int(SECONDS * 1000)):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it did not happen")


def call(kind: str, stage: Stage, value: Any, seconds: float | None) -> Any:
    if kind == "thread":
        return call_within(stage, value, seconds)

    async def main() -> Any:
        return await acall_within(stage, value, seconds)

    return asyncio.run(main())


def call_late(kind: str, stage: Stage, began: Sequence[Any]) -> None:
    """Call a stage that hangs, until one call began before its deadline."""
    before = len(began)
    for _ in range(1000):
        with pytest.raises(DeadlineExceeded):
            call(kind, stage, 1, SOON)
        if len(began) > before:
            return
    raise AssertionError("no call began in time")


both = pytest.mark.parametrize("kind", ["thread", "loop"])


@both
def test_a_call_in_time_gives_its_answer_or_its_own_error(kind: str) -> None:
    assert call(kind, Function(str), 1, SECONDS) == "1"
    with pytest.raises(ZeroDivisionError):
        call(kind, Function(lambda value: value / 0, "divide"), 1, SECONDS)


@both
def test_without_a_limit_a_stage_is_called_as_it_is(kind: str) -> None:
    threads = Function(lambda value: threading.get_ident(), "thread")
    assert (call(kind, threads, 1, None) == threading.get_ident()) is (kind == "thread")


@both
def test_a_call_past_its_deadline_names_the_stage_and_the_limit(
    kind: str, gate: threading.Event
) -> None:
    expected = r"'slow' expected to answer within 0.02 s, got no answer: give it a longer timeout="
    with pytest.raises(DeadlineExceeded, match=expected):
        call(kind, Function(lambda value: gate.wait(SECONDS), "slow"), 1, SOON)


@both
def test_a_timeout_of_the_stage_itself_is_raised_as_it_is(kind: str) -> None:
    def give_up(value: Any) -> Any:
        raise TimeoutError("no answer from the provider")

    with pytest.raises(TimeoutError, match="no answer from the provider") as raised:
        call(kind, Function(give_up), 1, SECONDS)
    assert not isinstance(raised.value, DeadlineExceeded)


def test_an_awaited_stage_is_cancelled_at_its_deadline() -> None:
    ended = []

    async def wait(value: Any) -> Any:
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            ended.append(value)
            raise

    async def main() -> Trace:
        with recorder.record("call") as trace, pytest.raises(DeadlineExceeded):
            await acall_within(Sequential(wait, name="tree"), 1, 0.2)
        return trace

    trace = asyncio.run(main())
    assert ended == [1]
    assert [type(trace[name].error) for name in ("tree", "wait")] == [DeadlineExceeded] * 2


def test_a_thread_inside_an_awaited_tree_is_abandoned(gate: threading.Event) -> None:
    tree = Sequential(str, lambda value: gate.wait(SECONDS), name="tree")

    async def main() -> bool:
        with pytest.raises(DeadlineExceeded, match="'tree'"):
            await acall_within(tree, 1, SOON)
        return gate.is_set()

    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(main()) is False
    finally:
        gate.set()
        loop.close()


@both
def test_the_span_of_a_late_call_ends_with_the_error_and_keeps_it(
    kind: str, gate: threading.Event
) -> None:
    left = threading.Event()
    began: list[Any] = []

    def wait(value: Any) -> Any:
        began.append(value)
        gate.wait(SECONDS)
        recorder.annotate(detail="late")
        left.set()
        return "late"

    with recorder.record("call") as trace:
        call_late(kind, Function(wait, "slow"), began)
    slow = trace["slow"]
    assert (slow.ended, type(slow.error), slow.input) == (True, DeadlineExceeded, 1)
    duration = slow.duration
    gate.set()
    assert left.wait(SECONDS)
    until(lambda: not deadline._late)
    assert (slow.output, type(slow.error), slow.duration) == (None, DeadlineExceeded, duration)
    assert [span.name for span in trace] == ["call", "slow"]


@both
def test_spans_on_the_thread_nest_under_the_stage(kind: str) -> None:
    tree = Sequential(str, len, name="tree")
    with recorder.record("call") as trace:
        assert call(kind, tree, 12, SECONDS) == 2
    assert [(depth, span.name) for depth, span in trace.root.walk()] == [
        (0, "call"),
        (1, "tree"),
        (2, "str"),
        (2, "len"),
    ]
    assert trace["tree"].output == 2


def numbers(gate: threading.Event) -> Iterator[int]:
    while not gate.is_set():
        yield 1
        gate.wait(0.001)


@both
def test_streams_begun_by_a_late_call_are_cancelled(kind: str, gate: threading.Event) -> None:
    streams: list[Stream[int]] = []

    def read(value: Any) -> Any:
        streams.append(Stream(numbers(gate)))
        return streams[0].result()

    call_late(kind, Function(read), streams)
    until(lambda: streams[0].state == "cancelled")


@both
def test_a_stream_that_is_the_answer_goes_on(kind: str, gate: threading.Event) -> None:
    stream = call(kind, Function(lambda value: Stream(numbers(gate)), "begin"), 1, SECONDS)
    assert next(iter(stream)) == 1
    assert stream.state == "running"
    gate.set()
    stream.wait(SECONDS)


def test_a_stream_of_a_call_inside_a_generator_ends_with_that_one(gate: threading.Event) -> None:
    inner: list[Stream[int]] = []

    def outer() -> Iterator[Any]:
        begin = Function(lambda value: Stream(numbers(gate)), "begin")
        inner.append(call_within(begin, 1, SECONDS))
        yield from inner[0]

    stream = Stream(outer())
    assert next(iter(stream)) == 1
    stream.cancel()
    assert inner[0].state == "cancelled"


@both
def test_a_stage_with_too_many_late_calls_fails_at_once(
    kind: str, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "MAX_LATE_CALLS", 2)
    began: list[Any] = []

    def wait(value: Any) -> Any:
        began.append(value)
        return gate.wait(SECONDS)

    slow = Function(wait, "slow")
    for _ in range(2):
        call_late(kind, slow, began)
    with pytest.raises(Overloaded, match="'slow' has 2 calls that still run past their deadline"):
        call(kind, slow, 1, SECONDS)
    assert call(kind, Function(str), 1, SECONDS) == "1"
    gate.set()
    until(lambda: not deadline._late)
    assert call(kind, slow, 1, SECONDS) is True


def test_an_idle_thread_is_used_again_and_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_LINGER_SECONDS", 0.05)
    until(lambda: not workers._idle)  # those of other tests
    where = Function(lambda value: threading.current_thread(), "where")
    threads = {call_within(where, 1, SECONDS) for _ in range(20)}
    assert len(threads) == 1
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_bad_input_passes_through() -> None:
    def refuse(value: Any) -> Any:
        raise InputError("no such kettle")

    with pytest.raises(InputError, match="no such kettle"):
        call_within(Function(refuse), 1, SECONDS)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(gate: threading.Event) -> None:
    began: list[Any] = []

    def wait(value: Any) -> Any:
        began.append(value)
        gate.wait(SECONDS)

    call_late("thread", Function(wait), began)
    assert call_within(Function(str), 1, SECONDS) == "1"  # leaves an idle thread
    child = os.fork()
    if child == 0:
        try:
            good = call_within(Function(str), 1, SECONDS) == "1" and not deadline._late
            os._exit(0 if good else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
