"""The view of a trace: its spans as a waterfall, followed by hints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from conduit_lab.core.trace import span_facts
from conduit_lab.core.trace.critical_path import critical_path
from conduit_lab.core.trace.hints import hints
from conduit_lab.core.trace.self_time import (
    Interval,
    elapsed,
    interval,
    self_intervals,
    self_seconds,
    union,
)
from conduit_lab.core.trace.span_groups import SpanGroup, span_groups
from conduit_lab.core.views import figures, html
from conduit_lab.core.views.waterfall import Waterfall, WaterfallRow, WaterfallView

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span

MIN_CRITICAL_SHARE = 0.05  # of the total time; shorter spans on the critical path are not bold
MAX_SHOWN_HINTS = 5


def trace_view(root: Span, states: Sequence[str] = ()) -> WaterfallView:
    """Return the view of call `root`: its name, duration, number of stages, states and rows.

    It only reads recorded values.
    """
    groups = span_groups(root, html.MAX_ROWS)
    clock = max(interval(span)[1] for _, span in root.walk()) - root.start
    path = {id(span) for span in critical_path(root)}
    rows = [_row(group, root, clock, path) for group in groups[: html.MAX_ROWS]]
    shown = sum(len(group.spans) for group in groups[: html.MAX_ROWS])
    facts = [rows[0].time, *([] if root.ended else [span_facts.RUNNING])]
    if stages := root.record.spans - 1:
        facts.append(figures.plural(stages, "stage"))
    sentences = hints(root)
    if len(sentences) > MAX_SHOWN_HINTS:
        left = figures.plural(len(sentences) - MAX_SHOWN_HINTS, "more hint")
        sentences = [*sentences[:MAX_SHOWN_HINTS], f"{left}: `trace.hints`"]
    waterfall = Waterfall(rows, clock, root.record.spans - shown, sentences)
    return WaterfallView("Trace", root.name, [*facts, *states], waterfall=waterfall)


def _row(group: SpanGroup, root: Span, clock: float, path: set[int]) -> WaterfallRow:
    spans = group.spans
    intervals = [_shifted(interval(span), root) for span in spans]
    seconds, own = sum(map(elapsed, spans)), sum(map(self_seconds, spans))
    on_path = sum(elapsed(span) for span in spans if id(span) in path)
    errors = _errors(spans)
    return WaterfallRow(
        name=group.name,
        depth=group.depth,
        start=min(start for start, _ in intervals),
        end=max(end for _, end in intervals),
        busy=union(_shifted(part, root) for span in spans for part in self_intervals(span)),
        time=figures.seconds(seconds),
        own_time=figures.seconds(own) if any(span.children for span in spans) else "",
        device=", ".join(_distinct(map(span_facts.device, spans))),
        note=" · ".join([*_marks(spans), *_note(spans, seconds)]),
        remark=_first(_distinct(span_facts.remarks(span.attributes) for span in spans), 2, " · "),
        failed=any(span.error is not None for span in spans),
        error=_first(_distinct(errors), 1, "; "),
        critical=on_path > 0 and on_path >= MIN_CRITICAL_SHARE * clock,
    )


def _note(spans: Sequence[Span], seconds: float) -> list[str]:
    if len(spans) > 1:
        return [f"{figures.seconds(seconds / len(spans))} each"]
    return [text] if (text := span_facts.output_text(spans[0])) else []


def _marks(spans: Sequence[Span]) -> list[str]:
    """Return the states of the spans; with several spans, each state with its count."""
    counts: dict[str, int] = {}
    for mark in (mark for span in spans for mark in span_facts.marks(span)):
        counts[mark] = counts.get(mark, 0) + 1
    if len(spans) > 1 and (failed := sum(span.error is not None for span in spans)):
        counts["failed"] = failed
    return [mark if len(spans) == 1 else f"{number} {mark}" for mark, number in counts.items()]


def _errors(spans: Sequence[Span]) -> list[str]:
    """Return the errors raised in these spans, excluding those that propagated from below."""
    return [
        text
        for span in spans
        if (text := span_facts.error_text(span))
        and text not in map(span_facts.error_text, list(span.children))
    ]


def _first(texts: Sequence[str], count: int, between: str) -> str:
    """Return the first texts, and the count of the others."""
    more = [f"{len(texts) - count} more"] if len(texts) > count else []
    return between.join([*texts[:count], *more])


def _shifted(part: Interval, root: Span) -> Interval:
    return part[0] - root.start, part[1] - root.start


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, texts)))
