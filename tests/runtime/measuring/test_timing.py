"""Timing: calls take turns, and a figure is the median of its measurements."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import numpy as np
import pytest

from conduit_lab.runtime.measuring import timing as room
from conduit_lab.runtime.measuring.timing import (
    Timing,
    Turns,
    format_speedup,
    in_turn,
    measure,
    min_measure_seconds,
    speedup,
)


def test_calls_take_turns() -> None:
    seen: list[str] = []
    turns = measure(
        [lambda: seen.append("A"), lambda: seen.append("B"), lambda: seen.append("C")], 0.0
    )
    assert "".join(name for name, _ in groupby(seen)) == "ABC" * 4  # with the warm-up
    assert [len(of) for of in turns] == [3, 3, 3]


def test_every_call_of_a_turn_is_counted() -> None:
    seen: list[int] = []
    ((first, *_),) = measure([lambda: seen.append(1)], 0.0)
    assert len(first) > 10
    assert (first > 0).all()


def test_more_time_is_more_rounds() -> None:
    (turns,) = measure([lambda: None], 0.2)
    assert len(turns) > 3


def test_an_error_of_a_call_is_raised() -> None:
    def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        measure([fail], 0.1)


def test_percentiles_are_over_all_turns() -> None:
    seconds = np.arange(1, 102) / 100
    timing = Timing.of(8, [seconds[:40], seconds[40:]])
    assert (timing.rows, timing.calls) == (8, 101)
    assert (timing.p50, timing.p90, timing.p99) == pytest.approx((0.51, 0.91, 1.0))
    assert timing.rate == pytest.approx(8 / 0.51)


def test_the_speedup_ignores_one_slow_round() -> None:
    quick, slow = np.full(5, 1.0), np.full(5, 50.0)
    half = np.full(5, 0.5)
    assert speedup([quick, slow, quick], [half, half, half]) == 2.0
    assert speedup([quick, quick, quick], [half, slow, half]) == 2.0


@pytest.mark.parametrize(
    ("speed", "shown"),
    [
        (0.5, "0.50"),
        (2.434, "2.43"),
        (10.0, "10.0"),
        (12.34, "12.3"),
        (100.4, "100"),
        (1234.5, "1\u2009234"),
    ],
)
def test_a_speedup_has_three_digits(speed: float, shown: str) -> None:
    assert format_speedup(speed) == shown


# With a fake clock


class Clock:
    """A clock that only calls and pauses move; `log` has the name of each in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def call(self, name: str, seconds: float) -> Callable[[], None]:
        """Return a call that takes `seconds`."""

        def take() -> None:
            self.log.append(name)
            self.now += seconds

        return take

    def sleep(self, seconds: float) -> None:
        self.log.append("pause")
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(room, "perf_counter", lambda: made.now)
    monkeypatch.setattr(room, "sleep", made.sleep)
    return made


def test_two_calls_in_turn_give_their_medians_and_ratio(clock: Clock) -> None:
    got = in_turn(clock.call("A", 4.0), clock.call("B", 1.0))
    assert got == Turns(before=4.0, after=1.0, ratio=0.25)


def test_a_long_call_is_timed_once_per_turn_after_a_pause(clock: Clock) -> None:
    (turns,) = measure([clock.call("A", 1.0)], 0.0, pause=0.5)
    assert clock.log == ["A", *["pause", "A"] * 3]
    assert [turn.tolist() for turn in turns] == [[1.0]] * 3


def test_the_first_short_call_after_a_pause_is_not_counted(clock: Clock) -> None:
    (turns,) = measure([clock.call("A", 2**-9)], 0.0, pause=0.5)
    calls = 11  # of 2 ms fill a turn of 20 ms
    assert [len(turn) for turn in turns] == [calls] * 3
    assert clock.log == ["A", *["pause", *"A" * (calls + 1)] * 3]


def test_the_warm_up_takes_a_tenth_of_the_time_for_all_calls(clock: Clock) -> None:
    measure([clock.call("A", 1.0), clock.call("B", 1.0)], 80.0)
    assert "".join(clock.log).startswith("AAABBBABAB")


def test_measuring_takes_a_warm_up_and_three_rounds_at_least(clock: Clock) -> None:
    measure([clock.call("A", 1.0), clock.call("B", 1.0)], 0.0)
    assert clock.now == min_measure_seconds(1.0, 2) == 8.0
