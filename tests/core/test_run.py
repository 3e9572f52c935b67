"""The values of a run: shared by all stages of one outermost call, and gone with it."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import Any

import pytest

from conduit_lab.core.run import run
from conduit_lab.core.stage import Function
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.span import current


def put(value: int) -> int:
    run.values["seen"] = value
    return value + 1


def take(value: int) -> tuple[int, int]:
    return value, run.values["seen"]


def test_a_later_stage_reads_what_an_earlier_one_set() -> None:
    with recorder.record("call"):
        assert Function(take)(Function(put)(1)) == (2, 1)


def test_a_nested_call_shares_the_values_of_the_outermost() -> None:
    with recorder.record("outer"):
        with recorder.record("inner"):
            put(1)
        assert take(0) == (0, 1)


def test_every_run_begins_empty() -> None:
    for _ in range(2):
        with recorder.record("call"):
            assert run.values == {}
            put(1)


def test_outside_of_a_run_the_error_says_where_to_use_it() -> None:
    with pytest.raises(LookupError, match="none is active: use it in a stage that an endpoint"):
        put(1)


def test_a_kept_trace_keeps_no_values() -> None:
    with recorder.record("call") as trace:
        put(1)
    assert trace.root.recording.shared is None


def test_a_thread_that_outlives_its_run_gets_an_error() -> None:
    with recorder.record("call"):
        later = copy_context()
    with pytest.raises(LookupError, match="'call' has ended"):
        later.run(put, 1)


def test_threads_and_tasks_of_a_run_share_its_values() -> None:
    async def stages() -> None:
        with recorder.record("call"):
            run.values["by"] = {threading.get_ident()}
            mark = Function(lambda value: run.values["by"].add(threading.get_ident()))
            await asyncio.gather(mark.acall(1), mark.acall(2))
            assert len(run.values["by"]) > 1

    asyncio.run(stages())


def test_two_runs_at_once_do_not_mix() -> None:
    both = threading.Barrier(2)
    found: dict[int, Any] = {}

    def call(number: int) -> None:
        with recorder.record("call"):
            put(number)
            both.wait(20)
            found[number] = take(0)

    threads = [threading.Thread(target=call, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {1: (0, 1), 2: (0, 2)}


def test_the_values_last_until_the_stream_of_the_call_ends() -> None:
    returned = threading.Event()

    def chunks() -> Any:
        returned.wait(20)
        yield run.values["seen"]

    span = recorder.begin_call("call", None, Values(), ())
    with span:
        put(1)
        stream = Stream(chunks(), name="late")
        span.follow(stream)
    ended = threading.Event()
    stream.on_end(lambda _: ended.set())
    returned.set()
    assert list(stream) == [1]
    assert ended.wait(20)
    assert span.recording.shared is None


def test_an_inner_stream_that_ended_before_its_block_failed_ends_no_run() -> None:
    with recorder.record("call"):
        here = current()
        assert here is not None
        put(1)
        with pytest.raises(RuntimeError), here.child("inner", "call") as span:
            stream = Stream(iter([1]), name="short")
            span.follow(stream)
            ended = threading.Event()
            stream.on_end(lambda _: ended.set())
            assert ended.wait(20)
            raise RuntimeError("no power")
        assert take(0) == (0, 1)


def test_the_repr_names_the_values() -> None:
    assert repr(run) == "<run: no call is being recorded here>"
    with recorder.record("call"):
        assert repr(run) == "<run of 'call': no values>"
        put(1)
        assert repr(run) == "<run of 'call': seen>"
