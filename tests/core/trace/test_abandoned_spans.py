"""Spans of a call that its caller no longer waits for."""

from __future__ import annotations

import threading
from contextvars import Context, copy_context

from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span import Span, abandon_spans, current

SECONDS = 20.0


def test_they_end_once_with_the_error_and_drop_a_later_output() -> None:
    inside, go_on = threading.Event(), threading.Event()
    ended = []

    class Observer:
        def span_started(self, span: Span) -> None:
            pass

        def span_ended(self, span: Span) -> None:
            ended.append(span.name)

    def work() -> None:
        with recorder.span("stage", "call") as outer, recorder.span("inner", "call") as inner:
            inside.set()
            go_on.wait(SECONDS)
            assert outer is not None
            assert inner is not None
            outer.output = inner.output = "late"

    with recorder.record("call", observers=[Observer()]) as trace:
        context = copy_context()
        thread = threading.Thread(target=context.run, args=(work,))
        thread.start()
        assert inside.wait(SECONDS)
        abandon_spans(context, current(), TimeoutError("too long"))
    durations = [trace["stage"].duration, trace["inner"].duration]
    go_on.set()
    thread.join()
    for name in ("stage", "inner"):
        span = trace[name]
        assert (span.ended, str(span.error), span.output) == (True, "too long", None)
    assert [trace["stage"].duration, trace["inner"].duration] == durations
    assert ended == ["inner", "stage", "call"]
    assert trace.root.error is None


def test_without_a_recording_there_is_nothing_to_end() -> None:
    abandon_spans(Context(), None, TimeoutError())
    with recorder.record("call") as trace:
        abandon_spans(copy_context(), current(), TimeoutError())
    assert trace.root.error is None
