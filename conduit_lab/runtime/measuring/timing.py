"""Timing: how long calls take, measured in turn, so that a busy machine is unfair to none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.core.views import figures

CLEARLY = 1.05  # a smaller ratio of two times is noise
# seconds between turns: onnxruntime's threads spin on after a run and would slow another session
# down
CALM = 0.02
PAIR = 1.5  # seconds for two calls in turn

_TURN = 0.02  # seconds that a short call is repeated for, before it is the next one's turn
_WARM = 0.1  # share of the time that is spent before anything is measured
_ROUNDS = 3  # at least

Call = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """How long calls of `rows` samples took: percentiles in seconds, over `calls` calls.

    `rate` is the samples a second at the median, since on a busy machine a few long waits outweigh
    all other calls.
    """

    rows: int
    calls: int
    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, rows: int, turns: Sequence[Array]) -> Timing:
        """Return the timing of all calls of all turns, each float `[calls]` in seconds."""
        seconds = np.concatenate(turns)
        p50, p90, p99 = (float(p) for p in np.percentile(seconds, (50, 90, 99)))
        return cls(rows, len(seconds), p50, p90, p99)

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.rows / self.p50

    @property
    def samples(self) -> str:
        """The rate for people, without its unit."""
        return figures.rate(self.rate, "").removesuffix(" /s")


@dataclass(frozen=True)
class Turns:
    """Median seconds of a call `before` and `after`; `ratio` is the median, round by round, of after / before."""

    before: float
    after: float
    ratio: float


def in_turn(before: Call, after: Call, seconds: float = PAIR) -> Turns:
    """Measure two calls in turn (A, B, A, B, …) for about so many seconds."""
    first, other = measure([before, after], seconds, calm=CALM)
    return Turns(middle(first), middle(other), 1 / ratio(first, other))


def middle(turns: Sequence[Array]) -> float:
    """Return the median of all calls of all turns, in seconds."""
    return float(np.median(np.concatenate(turns)))


def measure(calls: Sequence[Call], seconds: float, calm: float = 0.0) -> list[list[Array]]:
    """Return how long each call took, in seconds, turn by turn: they take turns (A, B, C, A, B, C,
    …).

    A turn repeats a short call for 20 ms. Before anything is measured each is called a few times.
    There are at least three rounds, and more until `seconds` are over. `calm` is a pause before a
    turn; the first call after it is not counted where calls are short.
    """
    end = perf_counter() + seconds
    usual = [_warm(call, _WARM * seconds / len(calls)) for call in calls]
    turns: list[list[Array]] = [[] for _ in calls]
    while len(turns[-1]) < _ROUNDS or perf_counter() < end:
        for call, alone, times in zip(calls, usual, turns, strict=True):
            if calm:
                sleep(calm)
                if alone < _TURN / 4:
                    call()
            times.append(_turn(call))
    return turns


def ratio(first: Sequence[Array], other: Sequence[Array]) -> float:
    """Return how many times as fast `other` is as `first`: the median, over the rounds, of their median times."""
    return median(
        float(np.median(a)) / float(np.median(b)) for a, b in zip(first, other, strict=True)
    )


def times(speed: float) -> str:
    """Return how many times as fast for people: `2.43`, `12.4`, `1 234`."""
    return (
        figures.count(round(speed))
        if speed >= 100
        else f"{speed:.1f}"
        if speed >= 10
        else f"{speed:.2f}"
    )


def seconds_of(call: Call) -> float:
    """Return the seconds of one call."""
    begin = perf_counter()
    call()
    return perf_counter() - begin


def longest(alone: float, calls: int = 1) -> float:
    """Return what `measure` takes at least for `calls` calls that take `alone` seconds each."""
    return (_ROUNDS + 1) * alone * calls


def _warm(call: Call, seconds: float) -> float:
    """Call for about `seconds`, at least once, and return the seconds of the last call."""
    end = perf_counter() + seconds
    alone = seconds_of(call)
    while perf_counter() + alone < end:
        alone = seconds_of(call)
    return alone


def _turn(call: Call) -> Array:
    """Return the seconds of each call of one turn."""
    times: list[float] = []
    now = perf_counter()
    end = now + _TURN
    while not times or now < end:
        begin = perf_counter()
        call()
        now = perf_counter()
        times.append(now - begin)
    return np.array(times)
