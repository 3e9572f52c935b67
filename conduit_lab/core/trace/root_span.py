"""begin_call: the span of a call, alone or inside another; of one that failed without a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conduit_lab.core.trace.call_record import CallRecord, Recording, Values
from conduit_lab.core.trace.span import Observer, Span, current
from conduit_lab.core.trace.stage_statistics import StageStatistics
from conduit_lab.core.trace.tally import tallying
from conduit_lab.core.trace.trace_replay import replaying


def begin_call(
    name: str,
    target: Any,
    values: Values,
    observers: Sequence[Observer],
    statistics: StageStatistics | None = None,
    value: Any = None,
) -> Span:
    """Return the span of a call with a record of its own, to be entered.

    Inside another call it is a span of that one, and everything after `target` is that one's.
    """
    parent = current()
    if parent is None:
        record = CallRecord()
        if (tally := tallying()) is not None:  # a trace inside a call that has none
            record.parent = tally.record
            statistics = statistics or tally.statistics
        recording = Recording(name, record, values, observers, statistics, replaying())
        span = Span(name, "call", target, value, recording, record)
        span.start = 0.0  # the recording's origin is its start
        return span
    record = CallRecord(parent.record)
    return Span(name, "call", target, value, parent.recording, record, parent)


def record_failure(span: Span, begun: float, error: BaseException) -> None:
    """Record `span` for a call that failed without a trace; it began at `begun`, in seconds."""
    span.recording.origin = begun
    span.__enter__()
    span.__exit__(type(error), error, None)
