"""Root spans: begin a traced call, nested or not, or record the failure of an untraced one."""

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
    """Return the span of a call with its own record, to be entered.

    Inside another call it becomes a span of that call, whose settings replace the arguments after
    `target`.
    """
    parent = current()
    if parent is None:
        record = CallRecord()
        if (tally := tallying()) is not None:  # a traced call inside an untraced one
            record.parent = tally.record
            statistics = statistics or tally.statistics
        recording = Recording(name, record, values, observers, statistics, replaying())
        span = Span(name, "call", target, value, recording, record)
        span.start = 0.0  # the recording's origin is this start
        return span
    record = CallRecord(parent.record)
    return Span(name, "call", target, value, parent.recording, record, parent)


def record_failure(span: Span, begun: float, error: BaseException) -> None:
    """Record `span` for an untraced call that failed; it began at `begun`, in seconds."""
    span.recording.origin = begun
    span.__enter__()
    span.__exit__(type(error), error, None)
