"""Timing: calls take turns, and a figure is the median of its measurements."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from conduit_lab.runtime.measuring.timing import Timing, format_speedup, measure, speedup


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
    ("speed", "shown"), [(0.5, "0.50"), (2.434, "2.43"), (12.34, "12.3"), (1234.5, "1\u2009234")]
)
def test_a_speedup_has_three_digits(speed: float, shown: str) -> None:
    assert format_speedup(speed) == shown
