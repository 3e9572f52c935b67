"""Fallback: the first stage that succeeds, with retries, deadlines and circuit breakers."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import CompositionError, DeadlineExceeded, InputError
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.trace import recorder
from conduit_lab.flow import breaker, deadline
from conduit_lab.flow.fallback import Fallback
from tests.flow.test_deadline import until

SECONDS = 20.0
SOON = 0.2


def fail(value: Any) -> Any:
    raise RuntimeError("no power")


def refuse(value: Any) -> Any:
    raise InputError("no such kettle")


def plus(value: int) -> int:
    return value + 1


class Failing:
    """A function that fails while `down`, and counts its calls."""

    __name__ = "shop"

    def __init__(self, down: bool | int = True) -> None:
        self.down = down  # or the number of calls that fail
        self.calls = 0

    def __call__(self, value: Any) -> Any:
        self.calls += 1
        if self.down is True or self.calls <= self.down:
            raise ConnectionError("503 from the shop")
        return f"{value}!"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(breaker, "monotonic", clock)
    return clock


def run(stage: Stage, value: Any) -> Any:
    return stage(value)


def arun(stage: Stage, value: Any) -> Any:
    async def main() -> Any:
        return await stage.acall(value)

    return asyncio.run(main())


both = pytest.mark.parametrize("call", [run, arun])


def notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


@both
def test_the_next_stage_answers_and_the_trace_shows_both(
    call: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    stage = Fallback(fail, plus, name="price")
    with caplog.at_level("INFO", "conduit_lab"), recorder.record("call") as recorded:
        assert call(stage, 1) == 2
    assert caplog.messages == [
        "price: fail failed, trying the next: no power",
        "price: plus answered",
    ]
    failed, answered = recorded["price"].children
    assert isinstance(failed.error, RuntimeError)
    assert answered.output == 2
    assert recorded["price"].attributes == {"fallback": "plus"}


def test_the_first_stage_is_no_fallback() -> None:
    with recorder.record("call") as recorded:
        Fallback(str, repr, retries=1)(1)
    assert not recorded.record.fallbacks


@both
@pytest.mark.parametrize("options", [{}, {"retries": 3, "open_after": 1, "timeout": SECONDS}])
def test_bad_input_is_raised_at_once(call: Callable[..., Any], options: dict[str, Any]) -> None:
    asked: list[Any] = []
    stage = Fallback(refuse, asked.append, **options)
    for _ in range(3):
        with pytest.raises(InputError, match="no such kettle"):
            call(stage, 1)
    assert asked == []


@both
def test_when_all_fail_the_last_error_has_the_others_as_notes(call: Callable[..., Any]) -> None:
    stage = Fallback(fail, Failing(), lambda value: value / 0, name="price", retries=1)
    with pytest.raises(ZeroDivisionError, match="division by zero") as raised:
        call(stage, 1)
    assert notes(raised.value) == [
        "price: fail failed before: RuntimeError: no power",
        "price: shop failed before: ConnectionError: 503 from the shop",
        "price: <lambda> failed before: ZeroDivisionError: division by zero",
    ]


def test_an_error_raised_again_and_again_keeps_one_note() -> None:
    same = OSError("disk")

    def raise_same(value: Any) -> Any:
        raise same

    for _ in range(3):
        with pytest.raises(OSError, match="disk"):
            Fallback(fail, raise_same)(1)
    assert len(notes(same)) == 1


def test_bad_input_of_a_later_stage_names_the_failure_before_it() -> None:
    with pytest.raises(InputError) as raised:
        Fallback(fail, refuse, name="price")(1)
    assert notes(raised.value) == ["price: fail failed before: RuntimeError: no power"]


@both
def test_a_stage_is_tried_again(call: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    shop = Failing(2)
    with caplog.at_level("WARNING", "conduit_lab"):
        assert call(Fallback(shop, fail, retries=2), 1) == "1!"
    assert caplog.messages == ["fallback: shop failed, trying it again: 503 from the shop"] * 2


@given(failures=st.lists(st.integers(0, 4), min_size=1, max_size=4), retries=st.integers(0, 3))
def test_the_answer_is_that_of_the_first_stage_with_enough_tries(
    failures: list[int], retries: int
) -> None:
    stages = [Failing(count) for count in failures]
    stage = Fallback(*(Function(each, str(i)) for i, each in enumerate(stages)), retries=retries)
    answering = next((i for i, count in enumerate(failures) if count <= retries), None)
    with recorder.record("call") as recorded:
        if answering is None:
            with pytest.raises(ConnectionError):
                stage(1)
        else:
            assert stage(1) == "1!"
    expected = {} if not answering else {str(answering): None}
    assert recorded.record.fallbacks == expected
    reached = len(failures) if answering is None else answering + 1
    tries = [min(count, retries) + 1 for count in failures[:reached]]
    assert [each.calls for each in stages] == tries + [0] * (len(failures) - reached)


@both
def test_a_stage_that_hangs_is_left_at_its_timeout(
    call: Callable[..., Any], gate: threading.Event
) -> None:
    began: list[Any] = []

    def wait(value: Any) -> Any:
        began.append(value)
        gate.wait(SECONDS)

    slow = Function(wait, "slow")
    while not began:
        with recorder.record("call") as recorded:
            assert call(Fallback(slow, plus, timeout=SOON), 1) == 2
    assert isinstance(recorded["slow"].error, DeadlineExceeded)
    with pytest.raises(DeadlineExceeded, match="'slow'"):
        call(Fallback(slow, timeout=SOON), 1)


def test_a_late_fallback_starts_no_further_stage(gate: threading.Event) -> None:
    asked: list[Any] = []

    def wait_and_fail(value: Any) -> Any:
        gate.wait(SECONDS)
        raise RuntimeError("too late")

    inner = Fallback(wait_and_fail, asked.append, name="inner")
    assert Fallback(inner, plus, timeout=SOON)(1) == 2
    gate.set()
    until(lambda: not deadline._late)
    assert asked == []


def test_an_answer_is_not_checked() -> None:
    answer = Fallback(lambda value: np.full(2, np.nan), plus)(1)
    assert np.isnan(answer).all()


def test_an_interrupt_is_no_failure() -> None:
    def interrupt(value: Any) -> Any:
        raise KeyboardInterrupt

    for options in ({}, {"retries": 1, "open_after": 1}):
        with pytest.raises(KeyboardInterrupt):
            Fallback(interrupt, plus, **options)(1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "'mine': retries= expected 0 or more, got -1"),
        ({"retries": 0.5}, "retries= expected 0 or more, got 0.5"),
        ({"timeout": 0}, "timeout= expected seconds above 0, got 0"),
        ({"timeout": math.nan}, "timeout= expected seconds above 0, got nan"),
        ({"open_after": 0}, "open_after= expected 1 or more failures, or None, got 0"),
        ({"reset_after": None}, "reset_after= expected seconds above 0, got None"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CompositionError, match=message):
        Fallback(plus, name="mine", **options)
    with pytest.raises(CompositionError, match="'mine' expected at least one stage, got none"):
        Fallback(name="mine")


def test_its_settings_are_the_options_that_were_given() -> None:
    assert Fallback(plus)._settings() == {}
    given = {"retries": 2, "timeout": 1.5, "open_after": 3, "reset_after": 5.0}
    assert Fallback(plus, **given)._settings() == given  # type: ignore[arg-type]


# Circuit breakers


@both
def test_a_stage_that_keeps_failing_is_skipped_and_then_probed(
    call: Callable[..., Any], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Failing()
    stage = Fallback(shop, plus, name="price", open_after=2, reset_after=30)
    with caplog.at_level("WARNING", "conduit_lab"):
        for _ in range(10):
            assert call(stage, 1) == 2
    assert shop.calls == 2
    assert [message for message in caplog.messages if "circuit" in message] == [
        "price: shop failed 2 times in a row, its circuit is open: skipped for 30 s, then probed"
    ]

    clock.now += 30  # a probe that fails opens it again, without another word
    caplog.clear()
    call(stage, 1), call(stage, 1)
    assert shop.calls == 3
    assert not [message for message in caplog.messages if "circuit" in message]

    clock.now += 30
    shop.down = False
    with caplog.at_level("WARNING", "conduit_lab"):
        assert [call(stage, 1), call(stage, 1)] == ["1!", "1!"]
    assert caplog.messages[-1] == "price: shop succeeded again, its circuit is closed"

    shop.down = True  # closed means counting from 0
    call(stage, 1)
    assert not stage._breakers[0].is_open  # type: ignore[union-attr]


def test_only_failures_in_a_row_count(clock: Clock) -> None:
    shop = Failing()
    stage = Fallback(shop, plus, open_after=2)
    for down in (True, False, True, False):
        shop.down = down
        stage(1)
    shop.down = True
    stage(1)
    assert shop.calls == 5


def test_an_open_circuit_ends_the_retries() -> None:
    shop = Failing()
    Fallback(shop, plus, retries=9, open_after=3)(1)
    assert shop.calls == 3


def test_bad_input_in_a_probe_leaves_the_circuit_open_for_another(clock: Clock) -> None:
    answers: list[Any] = [RuntimeError("down"), InputError("bad"), "well"]

    def answer(value: Any) -> Any:
        given = answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    stage = Fallback(answer, plus, open_after=1, reset_after=30)
    assert (stage(1), stage(1)) == (2, 2)
    clock.now += 30
    with pytest.raises(InputError, match="bad"):
        stage(1)
    assert stage(1) == "well"


def test_the_last_stage_is_tried_even_if_it_keeps_failing() -> None:
    shop = Failing()
    stage = Fallback(fail, shop, open_after=1, name="price")
    for _ in range(3):
        with pytest.raises(ConnectionError) as raised:
            stage(1)
    assert shop.calls == 3
    assert notes(raised.value) == ["price: fail was skipped, its circuit is open"]


def test_one_caller_at_a_time_probes(clock: Clock, gate: threading.Event) -> None:
    began = threading.Event()
    calls = []

    def answer(value: Any) -> Any:
        calls.append(value)
        if len(calls) == 1:
            raise RuntimeError("down")
        began.set()
        gate.wait(SECONDS)
        return "well"

    stage = Fallback(answer, plus, open_after=1, reset_after=30)
    stage(0)
    clock.now += 30
    with ThreadPoolExecutor(1) as pool:
        probe = pool.submit(stage, 1)
        assert began.wait(SECONDS)
        assert [stage(2), arun(stage, 2)] == [3, 3]  # threads and loops share the state
        clock.now += 31  # a probe that hangs does not keep the circuit open for ever
        with ThreadPoolExecutor(1) as other:
            second = other.submit(stage, 3)
            while len(calls) < 3:
                pass
            gate.set()
            assert (probe.result(SECONDS), second.result(SECONDS)) == ("well", "well")
    assert calls == [0, 1, 3]


def test_many_threads_open_a_circuit_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Fallback(Failing(), plus, open_after=5)
    with caplog.at_level("WARNING", "conduit_lab"), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(stage, range(200))) == list(range(1, 201))
    assert sum("circuit is open" in message for message in caplog.messages) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_circuits_are_closed_in_a_forked_child() -> None:
    stage = Fallback(Failing(1), plus, open_after=1)
    stage(1)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if stage(1) == "1!" else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert stage(1) == 2


def test_a_cancelled_call_is_no_failure() -> None:
    asked: list[Any] = []

    async def wait(value: Any) -> Any:
        await asyncio.sleep(SECONDS)

    async def main() -> None:
        stage = Fallback(wait, asked.append, open_after=1, retries=1)
        task = asyncio.ensure_future(stage.acall(1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not stage._breakers[0].is_open  # type: ignore[union-attr]

    asyncio.run(main())
    assert asked == []
