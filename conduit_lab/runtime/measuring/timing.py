"""Timing: durations of calls, measured alternately so that a busy machine slows all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any

import numpy as np

from conduit_lab.core.progress import TIME, inner_progress
from conduit_lab.core.spec import Array
from conduit_lab.core.views import figures

NOISE_RATIO = 1.05  # a smaller ratio of two times is noise
# between turns: onnxruntime's threads spin after a run and would slow another session down
PAUSE_SECONDS = 0.02
PAIR_SECONDS = 1.5  # for two calls in turn

_TURN_SECONDS = 0.02  # a turn repeats a short call for this long
_WARMUP_SHARE = 0.1  # of the total time
_MIN_ROUNDS = 3

TimedCall = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """Percentiles of the seconds per call with `rows` samples, over `calls` calls.

    `rate` is the samples per second at the median: on a busy machine a few long waits would
    dominate a mean.
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
        """Samples per second."""
        return self.rows / self.p50

    @property
    def samples(self) -> str:
        """The rate as short text, without its unit."""
        return figures.rate(self.rate, "").removesuffix(" /s")


@dataclass(frozen=True)
class Turns:
    """Median seconds of a call `before` and `after`; `ratio` is the median of after / before."""

    before: float
    after: float
    ratio: float


def in_turn(before: TimedCall, after: TimedCall, seconds: float = PAIR_SECONDS) -> Turns:
    """Measure two calls alternately (A, B, A, B, …) for about `seconds`."""
    first, other = measure([before, after], seconds, pause=PAUSE_SECONDS)
    return Turns(median_seconds(first), median_seconds(other), 1 / speedup(first, other))


def median_seconds(turns: Sequence[Array]) -> float:
    """Return the median of all calls of all turns."""
    return float(np.median(np.concatenate(turns)))


def measure(calls: Sequence[TimedCall], seconds: float, pause: float = 0.0) -> list[list[Array]]:
    """Measure calls alternately (A, B, C, A, B, C, …); return the seconds of each, per turn.

    A turn repeats a short call for 20 ms. After a warm-up there are at least three rounds, and more
    until `seconds` have passed. `pause` precedes each turn; if calls are short, the first call
    after the pause is not counted.
    """
    with inner_progress(seconds, TIME):
        end = perf_counter() + seconds
        usual = [_warm_up(call, _WARMUP_SHARE * seconds / len(calls)) for call in calls]
        turns: list[list[Array]] = [[] for _ in calls]
        while len(turns[-1]) < _MIN_ROUNDS or perf_counter() < end:
            for call, duration, own in zip(calls, usual, turns, strict=True):
                if pause:
                    sleep(pause)
                    if duration < _TURN_SECONDS / 4:
                        call()
                own.append(_turn(call))
        return turns


def speedup(first: Sequence[Array], other: Sequence[Array]) -> float:
    """Return how many times as fast `other` is: the median, per round, of the ratio of medians."""
    from statistics import median  # 5 ms to import

    return median(
        float(np.median(a)) / float(np.median(b)) for a, b in zip(first, other, strict=True)
    )


def format_speedup(factor: float) -> str:
    """Return a speed-up with three digits: `2.43`, `12.4`, `1 234`."""
    if factor >= 100:
        return figures.count(round(factor))
    return f"{factor:.1f}" if factor >= 10 else f"{factor:.2f}"


def seconds_of(call: TimedCall) -> float:
    """Return the seconds of one call."""
    begin = perf_counter()
    call()
    return perf_counter() - begin


def min_measure_seconds(duration: float, calls: int = 1) -> float:
    """Return the minimum time that `measure` takes for `calls` calls of `duration` seconds each."""
    return (_MIN_ROUNDS + 1) * duration * calls


def _warm_up(call: TimedCall, seconds: float) -> float:
    """Call for about `seconds`, at least once, and return the seconds of the last call."""
    end = perf_counter() + seconds
    duration = seconds_of(call)
    while perf_counter() + duration < end:
        duration = seconds_of(call)
    return duration


def _turn(call: TimedCall) -> Array:
    """Return the seconds of each call of one turn."""
    durations: list[float] = []
    now = perf_counter()
    end = now + _TURN_SECONDS
    while not durations or now < end:
        begin = perf_counter()
        call()
        now = perf_counter()
        durations.append(now - begin)
    return np.array(durations)
