"""StageStatistics: calls, durations and failures of each stage of an app."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Protocol

from conduit_lab.core import forking, views
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed

MAX_STAGES = 500  # distinct names; calls of further ones are counted together
RECENT_CALLS = 512  # durations retained per stage, for the percentiles

_MAX_UNTIMED = 1024  # untraced calls, before they are added to the counts
_OTHER = "other stages"
_COLUMNS = ("stage", "calls", "p50", "p95", "p99", "errors")


class _Ended(Protocol):
    name: str
    duration: float
    error: BaseException | None


class _Counts:
    __slots__ = ("calls", "errors", "seconds")

    def __init__(self) -> None:
        self.calls = self.errors = 0
        self.seconds: deque[float] = deque(maxlen=RECENT_CALLS)


@dataclass(frozen=True)
class StageSummary:
    """One stage: its calls and failures, and percentiles of the newest 512 durations in seconds.

    With sampled tracing, only some calls are timed: the percentiles are NaN if none was.
    """

    name: str
    calls: int
    errors: int
    p50: float
    p95: float
    p99: float


class StageStatistics(Mapping[str, StageSummary], Viewed):
    """The statistics of an app's stages, by name; thread-safe.

    Endpoints and stores count as stages. All calls are counted, but only traced calls are timed:
    see `App(trace=)`. Beyond 500 names, further ones are counted together.
    """

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}  # guarded by _lock
        self._lock = threading.Lock()
        # names of untraced calls not yet counted: appending takes no lock
        self._untimed: deque[str] = deque()
        self._failed: deque[str] = deque()
        forking.free_in_child(self, "_lock")

    @property
    def calls(self) -> int:
        """The calls of all stages so far."""
        with self._lock:
            self._add_up()
            return sum(counts.calls for counts in self._counts.values())

    def count(self, name: str) -> None:
        """Count a call of a stage that is not timed."""
        self._untimed.append(name)
        if len(self._untimed) > _MAX_UNTIMED:
            with self._lock:
                self._add_up()

    def count_error(self, name: str) -> None:
        """Count the failure of a call already counted by `count`."""
        self._failed.append(name)

    def add(self, spans: Sequence[_Ended]) -> None:
        """Count ended spans."""
        with self._lock:
            for span in spans:
                counts = self._of(span.name)
                counts.calls += 1
                counts.seconds.append(span.duration)
                if span.error is not None:
                    counts.errors += 1

    def _of(self, name: str) -> _Counts:
        counts = self._counts.get(name)
        if counts is None:
            kept = name if len(self._counts) < MAX_STAGES else _OTHER
            counts = self._counts.setdefault(kept, _Counts())
        return counts

    def _add_up(self) -> None:
        """Add untraced calls to the counts; the caller holds the lock."""
        for _ in range(len(self._untimed)):
            self._of(self._untimed.popleft()).calls += 1
        for _ in range(len(self._failed)):
            self._of(self._failed.popleft()).errors += 1

    def __getitem__(self, name: str) -> StageSummary:
        with self._lock:
            self._add_up()
            counts = self._counts.get(name)
            if counts is None:
                names = ", ".join(self._counts) or "none yet"
                raise KeyError(f"no stage {name!r} has run; the stages are {names}")
            seconds = sorted(counts.seconds)
            calls, errors = counts.calls, counts.errors
        p50, p95, p99 = (_percentile(seconds, part) for part in (0.5, 0.95, 0.99))
        return StageSummary(name, calls, errors, p50, p95, p99)

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            self._add_up()
            return iter(list(self._counts))

    def __len__(self) -> int:
        with self._lock:
            self._add_up()
            return len(self._counts)

    def _table(self) -> views.Table:
        found = sorted(self.values(), key=lambda each: -_known(each.p50) * each.calls)
        slowest = max((_known(each.p99) for each in found), default=0.0)
        rows = [
            (
                each.name,
                figures.count(each.calls),
                *(time_cell(value, slowest) for value in (each.p50, each.p95, each.p99)),
                figures.count(each.errors) if each.errors else "",
            )
            for each in found
        ]
        columns = _COLUMNS if any(each.errors for each in found) else _COLUMNS[:-1]
        rows = [row[: len(columns)] for row in rows]
        whole = "list(lab.statistics.values())"
        return views.Table(columns, rows, numeric=columns[1:], whole=whole)

    def _view(self) -> views.View:
        found = list(self.values())
        calls = figures.plural(sum(each.calls for each in found), "call")
        failed = sum(each.errors for each in found)
        facts = [figures.plural(len(found), "stage"), calls]
        facts += [f"{figures.count(failed)} failed"] if failed else []
        return views.View("Statistics", "", facts, [self._table()])


def time_cell(seconds: float, slowest: float) -> views.Cell:
    """Return a table cell for a duration, with a bar relative to the slowest one; "" for NaN."""
    if seconds != seconds:
        return views.Cell("")
    return views.Cell(figures.seconds(seconds), share=seconds / slowest if slowest else 0.0)


def cost_cells(summaries: Sequence[StageSummary | None]) -> list[tuple[str, views.Cell]]:
    """Return the calls and the p50 of each stage; empty cells if it was not called."""
    slowest = max((_known(each.p50) for each in summaries if each), default=0.0)
    return [
        (figures.count(each.calls), time_cell(each.p50, slowest)) if each else ("", views.Cell(""))
        for each in summaries
    ]


def _percentile(ordered: Sequence[float], part: float) -> float:
    """Return the nearest-rank percentile of sorted values, NaN if there are none."""
    if not ordered:
        return nan
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _known(seconds: float) -> float:
    """Return a duration, or 0 if it was not measured."""
    return seconds if seconds == seconds else 0.0
