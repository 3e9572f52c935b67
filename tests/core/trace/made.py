"""Spans with given times and values, as a recording would have left them."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.trace.attributes import Attributes
from conduit_lab.core.trace.call_record import CallRecord, Recording, Values
from conduit_lab.core.trace.span import Kind, Span
from conduit_lab.core.trace.trace import Trace
from conduit_lab.core.trace.value_snapshot import snapshot


def span(
    name: str,
    start: float,
    end: float | None,
    *children: Span,
    kind: Kind = "call",
    target: Any = None,
    given: Any = None,
    gave: Any = None,
    error: BaseException | None = None,
    attributes: Attributes | None = None,
) -> Span:
    """Return a span from `start` to `end` in seconds; one without an end still runs."""
    record = CallRecord()
    recording = Recording(name, record, Values(), (), None, None)
    made = Span(name, kind, target, given, recording, record)
    made.children = list(children)
    made.start = start
    if end is not None:
        made.duration, made.ended = end - start, True
    made.gave, made.output = gave, snapshot(gave)
    made.error = error
    made.attributes = attributes or {}
    record.spans = sum(1 for _ in made.walk())
    return made


def trace(*children: Span, seconds: float, name: str = "call", **values: Any) -> Trace:
    """Return the trace of a call of `seconds` with these children."""
    return Trace(span(name, 0.0, seconds, *children, **values))
