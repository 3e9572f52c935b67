"""Workers: threads for calls that run alongside their caller."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any

import pytest

from conduit_lab.core.errors import Overloaded
from conduit_lab.core.stage import Function
from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow import workers
from conduit_lab.flow.deadline import call_within
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.workers import ThreadCall, start_calls
from tests.flow.test_deadline import until

SECONDS = 20.0

_variable: ContextVar[int] = ContextVar("variable", default=0)


@pytest.fixture(autouse=True)
def free() -> None:
    until(lambda: not workers._busy)


def ended_call(function: Any, value: Any) -> ThreadCall:
    ended: SimpleQueue[ThreadCall] = SimpleQueue()
    call = ThreadCall(function, value, ended.put)
    assert start_calls([call])
    assert ended.get(timeout=SECONDS) is call
    return call


def test_a_call_has_its_result_or_its_error_and_its_times() -> None:
    pause = threading.Event()
    call = ended_call(lambda value: pause.wait(value), 0.01)
    assert call.outcome() is False
    assert 0.005 <= call.seconds < SECONDS
    assert call.cpu_seconds < call.seconds
    failed = ended_call(lambda value: 1 / value, 0)
    with pytest.raises(ZeroDivisionError):
        failed.outcome()
    with pytest.raises(SystemExit):  # it ends no thread
        ended_call(lambda value: exit(value), 1).outcome()


def test_a_call_runs_in_a_copy_of_the_context() -> None:
    def change(value: int) -> int:
        seen = _variable.get()
        _variable.set(value)
        return seen

    token = _variable.set(7)
    assert ended_call(change, 8).outcome() == 7
    assert _variable.get() == 7
    _variable.reset(token)


def test_none_is_started_where_more_than_the_limit_would_be_busy(gate: threading.Event) -> None:
    ended: SimpleQueue[ThreadCall] = SimpleQueue()
    calls = [ThreadCall(lambda value: gate.wait(SECONDS), 1, ended.put) for _ in range(5)]
    assert start_calls(calls[:2], limit=3)
    assert not start_calls(calls[2:4], limit=3)
    assert start_calls(calls[4:], limit=3)
    gate.set()
    for _ in range(3):
        assert ended.get(timeout=SECONDS).outcome() is True
    until(lambda: not workers._busy)


def test_a_system_without_another_thread_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(workers, "_idle", [])
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(Overloaded, match="'str' needs a thread, but the system cannot start more"):
        call_within(Function(str), 1, SECONDS)
    parallel = Parallel({"a": str, "b": repr})
    parallel._plan.threaded = True
    assert parallel(1) == {"a": "1", "b": "1"}  # one after the other
    assert workers._busy == 0


def test_a_call_of_a_cancelled_stream_is_not_begun(caplog: pytest.LogCaptureFixture) -> None:
    began, go_on = threading.Event(), threading.Event()
    asked: list[Any] = []
    call = Function(asked.append, "ask")

    def source() -> Iterator[Any]:
        began.set()
        go_on.wait(SECONDS)
        yield call_within(call, 1, SECONDS)

    stream = Stream(source())
    assert began.wait(SECONDS)
    stream.cancel()
    go_on.set()
    until(lambda: not [t for t in threading.enumerate() if t.name == "stream stream"])
    assert (asked, caplog.messages) == ([], [])
