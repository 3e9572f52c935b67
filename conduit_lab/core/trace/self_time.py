"""Times of a span on its recording's clock: duration, end, and self time."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span

Interval = tuple[float, float]  # start and end in seconds from the recording's origin


def elapsed(span: Span) -> float:
    """Return the span's duration in seconds, up to now if it is still running."""
    if span.ended:
        return span.duration
    return max(0.0, perf_counter() - span.recording.origin - span.start)


def interval(span: Span) -> Interval:
    """Return the span's start and end; the end of a running span is now."""
    return span.start, span.start + elapsed(span)


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the sorted intervals, merging those that touch or overlap."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def self_intervals(span: Span) -> list[Interval]:
    """Return the parts of the span during which none of its children ran."""
    start, end = interval(span)
    own: list[Interval] = []
    for child_start, child_end in union(interval(child) for child in list(span.children)):
        if start < (until := min(child_start, end)):
            own.append((start, until))
        start = max(start, child_end)
    if start < end:
        own.append((start, end))
    return own


def self_seconds(span: Span) -> float:
    """Return the self time: the span's duration without the union of its children's intervals.

    The time of children that the recording dropped counts as the span's own.
    """
    return sum(end - start for start, end in self_intervals(span))
