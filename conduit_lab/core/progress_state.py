"""Progress state: the text of a progress line, with the rate and the time left."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from conduit_lab.core.views import figures

_MIN_RATE = 1e-9  # units per second: one in thirty years; the time left at less is infinite
PACE_SECONDS = 30.0  # the rate covers only the last seconds: parts of a job differ in speed
MIN_RATE_SECONDS = 0.5

TIME, STEP, BYTES = "s", "step", "B"


@dataclass(frozen=True)
class ProgressState:
    """A progress line: its `name`, the completed `share` if known, and the `amounts` as text.

    `mark` is the mark of an ended job: ✓ done, ■ interrupted, ✕ failed.
    """

    name: str
    share: float | None
    amounts: str
    mark: str = ""

    def __str__(self) -> str:
        head = " ".join(filter(None, (self.mark, self.name)))
        return " · ".join(filter(None, (head, self.amounts)))


class Counted(Protocol):
    """The attributes of a `Progress` that its text needs."""

    total: float | None
    unit: str
    name: str
    phase: str
    done: float

    @property
    def seconds(self) -> float:
        """Seconds since the job started."""


class Pace:
    """The speed of a job over its last 30 seconds."""

    def __init__(self, begun_at: float) -> None:
        self.begun_at = begun_at
        self._seen: deque[tuple[float, float]] = deque([(begun_at, 0.0)])

    def rate(self, done: float, now: float) -> float:
        """Return the units per second, given that `done` units are done at `now`; 0 if unknown."""
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - PACE_SECONDS:
            self._seen.popleft()
        begin, before = self._seen[0]
        return (done - before) / (now - begin) if now - begin >= MIN_RATE_SECONDS else 0.0


def running_state(
    job: Counted, done: float, pace: Pace, inner: Sequence[Counted], now: float | None = None
) -> ProgressState:
    """Return the line of an outermost job; the newest of its `inner` jobs is its phase."""
    now = perf_counter() if now is None else now
    named = [each for each in inner if each.name]
    phase = named[-1].name if named else job.phase
    name = " · ".join(filter(None, (job.name, phase)))
    if job.unit == TIME:
        amounts, share = _timed(job.seconds, job.total)
    elif job.unit == STEP:
        within = next((each for each in reversed(inner) if each.total), None)
        part, share_within = _amount_of(within) if within is not None else ("", 0.0)
        place = _step(done, job.total) if job.total else ""
        amounts = " · ".join(filter(None, (place, part or _coarse(job.seconds))))
        share = (done + share_within) / job.total if job.total else None
    else:
        rate = pace.rate(done, now)
        rate = rate if rate > _MIN_RATE else 0.0
        left = (job.total - done) / rate if rate > 0 and job.total is not None else None
        if left == 0:  # more units were counted than the total
            left = None
        parts = [
            _amount(done, job.total, job.unit),
            _rate(rate, job.unit) if rate > 0 else _coarse(job.seconds),
            f"{_coarse(left)} left" if left is not None else "",
        ]
        amounts, share = " · ".join(filter(None, parts)), done / job.total if job.total else None
    return ProgressState(name, None if share is None else min(1.0, share), amounts)


def ended_state(job: Counted, error: BaseException | None) -> ProgressState:
    """Return the line of an ended job, given the error that ended it, if any."""
    took = duration(job.seconds)
    counted = job.unit not in (TIME, STEP)
    if error is None:
        total = job.done if job.total is None else job.total
        amount = f"{_amount(total, None, job.unit)} in " if counted else ""
        return ProgressState(job.name, 1.0, f"{amount}{took}", "✓")
    mark, word = ("■", "interrupted") if isinstance(error, KeyboardInterrupt) else ("✕", "failed")
    done = job.done if job.total is None else min(job.done, job.total)
    place = f" at {_amount(done, job.total, job.unit)}" if counted else ""
    if job.unit == STEP and job.total:
        place = f" at {_step(done, job.total)}"
    name = " · ".join(filter(None, (job.name, job.phase)))
    return ProgressState(name, None, f"{word}{place} after {took}", mark)


def duration(seconds: float) -> str:
    """Format a measured duration: `16.1 s`, `4 min 10 s`."""
    return figures.seconds(seconds) if seconds < 100 else _coarse(seconds)


def _coarse(seconds: float) -> str:
    """Format a duration in whole seconds, minutes or hours: `12 s`, `3 min 20 s`, `1 h 5 min`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min" if rest >= 60 else f"{hours} h"


def _step(done: float, total: float) -> str:
    return f"step {min(int(done) + 1, int(total))} of {int(total)}"


def _timed(seconds: float, total: float | None) -> tuple[str, float | None]:
    """Return the label and the completed fraction of a job measured in seconds."""
    if total is None or seconds >= total:
        return _coarse(seconds), 1.0 if total else None
    return f"{_coarse(seconds)} of {_coarse(total)}", seconds / total


def _amount_of(job: Counted) -> tuple[str, float]:
    """Return the label and the completed fraction of a nested job."""
    if job.unit == TIME:
        words, share = _timed(job.seconds, job.total)
        return words, share or 0.0
    share = job.done / job.total if job.total else 0.0
    return _amount(job.done, job.total, job.unit), min(1.0, share)


def _amount(done: float, total: float | None, unit: str) -> str:
    if unit == BYTES:
        whole = f" of {figures.size(total)}" if total is not None else ""
        return f"{figures.size(done)}{whole}"
    if total is None:
        return figures.plural(int(done), unit)
    return f"{figures.count(int(done))} of {figures.plural(int(total), unit)}"


def _rate(rate: float, unit: str) -> str:
    if unit == BYTES:
        return f"{figures.size(rate)}/s"
    if rate >= 1:
        return figures.rate(rate, "").replace(" /s", "/s")
    return f"{_coarse(1 / rate)} per {unit}"
