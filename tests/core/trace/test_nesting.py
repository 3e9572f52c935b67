"""One recorded call inside another: one tree of spans, and a record for each."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conduit_lab.core.stage import Function
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.span import Span

STORE, OTHER = object(), object()


def test_the_inner_call_is_a_span_of_the_outer_one() -> None:
    with recorder.record("outer") as outer:
        Function(str, name="before")(1)
        with recorder.record("inner") as inner:
            Function(str, name="within")(1)
    assert [(depth, span.name) for depth, span in outer.root.walk()] == [
        (0, "outer"),
        (1, "before"),
        (1, "inner"),
        (2, "within"),
    ]
    assert [span.name for span in inner] == ["inner", "within"]
    assert outer["inner"] is inner.root


def test_the_outer_record_has_what_the_inner_call_touched_and_not_the_reverse() -> None:
    with recorder.record("outer") as outer:
        recorder.touch(store_read=OTHER)
        with recorder.record("inner") as inner, recorder.span("s", "write", store_write=STORE):
            recorder.annotate(fallback="rules")
            recorder.annotate(device_fallback="out of memory")
    for record in (outer.record, inner.record):
        assert list(record.written.values()) == [STORE]
        assert list(record.fallbacks) == ["rules"]
        assert record.on_cpu == {"s": "out of memory"}
    assert (list(outer.record.read.values()), inner.record.read) == ([OTHER], {})


def test_a_loaded_model_is_recorded_once_by_its_path() -> None:
    model, again = (SimpleNamespace(path=Path("a.onnx")) for _ in range(2))
    with recorder.record("call") as recorded:
        recorder.annotate(model_file=model)
        recorder.touch(model_file=again)
    assert recorded.record.files == {Path("a.onnx"): model}


def test_attributes_stay_with_their_span() -> None:
    with recorder.record("call") as recorded:
        with recorder.span("one", "predict", rows=3):
            recorder.annotate(device="cuda")
        with recorder.span("two", "predict"):
            pass
    assert recorded["one"].attributes == {"rows": 3, "device": "cuda"}
    assert recorded["two"].attributes == recorded.root.attributes == {}


def test_nothing_is_annotated_outside_of_a_recording() -> None:
    recorder.annotate(rows=1)
    recorder.touch(store_read=STORE)


class Watching:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bool]] = []

    def span_started(self, span: Span) -> None:
        self.seen.append(("start", span.name, span.ended))

    def span_ended(self, span: Span) -> None:
        self.seen.append(("error" if span.error else "end", span.name, span.ended))


def test_observers_see_each_span_start_and_end_and_its_error() -> None:
    watching = Watching()

    def fail(value: Any) -> Any:
        raise ZeroDivisionError

    with recorder.record("call", observers=[watching]):
        Function(str, name="good")(1)
        with pytest.raises(ZeroDivisionError), recorder.record("inner"):
            Function(fail)(1)
    assert watching.seen == [
        ("start", "call", False),
        ("start", "good", False),
        ("end", "good", True),
        ("start", "inner", False),
        ("start", "fail", False),
        ("error", "fail", True),
        ("error", "inner", True),
        ("end", "call", True),
    ]


def test_an_observer_that_fails_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Watching):
        def span_ended(self, span: Span) -> None:
            raise RuntimeError("no disk")

    watching = Watching()
    with caplog.at_level(logging.ERROR), recorder.record("call", observers=[Broken(), watching]):
        assert Function(str)(1) == "1"
    assert ("end", "str", True) in watching.seen
    assert "an observer of spans failed at span_ended of 'str'" in caplog.text


def test_a_followed_span_ends_with_its_stream() -> None:
    stream: PushedStream[int] = PushedStream()
    with recorder.record("call") as recorded, recorder.span("tokens", "generate") as span:
        assert span is not None
        span.follow(stream)
        span.output = "made later"
    assert not span.ended and "running" in repr(recorded)
    stream.start()
    stream.append(1)
    stream.finish()
    assert span.ended and span.duration > 0 and span.output == "made later"
    assert "running" not in repr(recorded)


def test_the_error_of_a_followed_stream_is_that_of_its_span() -> None:
    stream: PushedStream[int] = PushedStream()
    with recorder.record("call"), recorder.span("tokens", "generate") as span:
        assert span is not None
        span.follow(stream)
    stream.fail(ZeroDivisionError("no more"))
    assert (type(span.error), span.ended) == (ZeroDivisionError, True)


def test_a_block_that_raises_ends_its_span_though_a_stream_goes_on() -> None:
    stream: PushedStream[int] = PushedStream()
    with (
        suppress(ZeroDivisionError),
        recorder.record("call") as recorded,
        recorder.span("tokens", "generate") as span,
    ):
        assert span is not None
        span.follow(stream)
        raise ZeroDivisionError
    tokens = recorded["tokens"]
    duration = tokens.duration
    stream.finish()
    assert (tokens.ended, tokens.duration) == (True, duration)


def test_values_of_a_nested_call_go_to_the_outer_ring() -> None:
    values = Values()
    with (
        recorder.record("outer", values=values),
        recorder.record("inner", values=Values(0)) as inner,
    ):
        Function(str, name="s")(5)
    assert inner["s"].input == 5
