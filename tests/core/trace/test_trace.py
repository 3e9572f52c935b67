from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from conduit_lab.core.stage import Function
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder


def test_nothing_is_recorded_outside_of_record() -> None:
    with recorder.span("alone", "call") as span:
        assert span is None


def test_spans_nest_as_the_calls_do() -> None:
    inner = Function(lambda value: value + 1, name="inner")
    outer = Function(lambda value: inner(inner(value)), name="outer")
    with recorder.record("all") as recorded:
        assert outer(1) == 3
        inner(9)
    assert [(depth, span.name) for depth, span in recorded.root.walk()] == [
        (0, "all"),
        (1, "outer"),
        (2, "inner"),
        (2, "inner"),
        (1, "inner"),
    ]


def test_span_keeps_target_input_and_output() -> None:
    stage = Function(str, name="text")
    with recorder.record("all") as recorded:
        stage(5)
    span = recorded["text"]
    assert (span.target, span.input, span.output, span.kind, span.error) == (
        stage,
        5,
        "5",
        "call",
        None,
    )


def test_times_of_children_lie_within_their_parents() -> None:
    leaf = Function(lambda value: sum(range(1000)), name="leaf")
    with recorder.record("all") as recorded:
        Function(lambda value: [leaf(value) for _ in range(3)], name="parent")(0)
    parent = recorded["parent"]
    starts = [child.start for child in parent.children]
    assert starts == sorted(starts)
    for child in parent.children:
        assert parent.start <= child.start
        assert child.start + child.duration <= parent.start + parent.duration
    assert parent.start + parent.duration <= recorded.root.duration


def test_error_is_kept_in_every_span_it_went_through() -> None:
    def fail(value: object) -> None:
        raise ZeroDivisionError

    stage = Function(lambda value: Function(fail)(value), name="outer")
    with pytest.raises(ZeroDivisionError), recorder.record("all") as recorded:
        stage(1)
    assert [type(span.error) for span in recorded] == [ZeroDivisionError] * 3
    assert recorded["fail"].output is None


def test_recording_ends_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), recorder.record("all"):
        _ = 1 / 0
    with recorder.span("later", "call") as span:
        assert span is None


def test_recordings_of_two_tasks_do_not_mix() -> None:
    stage = Function(lambda value: value, name="stage")

    async def one(number: int) -> list[int]:
        with recorder.record("all") as recorded:
            for _ in range(3):
                stage(number)
                await asyncio.sleep(0)
        return [span.input for span in recorded.root.children]

    async def several() -> list[list[int]]:
        return await asyncio.gather(*(one(n) for n in range(5)))

    assert asyncio.run(several()) == [[n] * 3 for n in range(5)]


def test_spans_of_a_stream_are_recorded_where_it_was_made() -> None:
    stage = Function(lambda value: value, name="token")

    def generate() -> Iterator[int]:
        yield stage(1)

    with recorder.record("all") as recorded:
        Stream(generate()).result(20)
    assert recorded["token"].output == 1


def test_spans_of_an_acall_are_recorded() -> None:
    stage = Function(lambda value: threading.current_thread().name, name="hopped")

    async def call() -> object:
        with recorder.record("all") as recorded:
            name = await stage.acall(1)
        assert recorded["hopped"].output == name
        return name

    assert asyncio.run(call()) != threading.current_thread().name


def test_unknown_name_says_what_there_is() -> None:
    with recorder.record("all") as recorded:
        Function(str, name="one")(1)
    with pytest.raises(KeyError, match="no span 'two' in this trace; it has all, one"):
        recorded["two"]


def test_first_span_of_a_name_is_given() -> None:
    stage = Function(str, name="same")
    with recorder.record("all") as recorded:
        stage(1)
        stage(2)
    assert recorded["same"].input == 1


def test_repr_is_a_table_with_indented_names() -> None:
    with recorder.record("all") as recorded:
        Function(str, name="<i>one</i>")(1)
    lines = repr(recorded).splitlines()
    assert lines[0].startswith("Trace 'all' · ") and lines[0].endswith(" · 1 stage")
    assert lines[1].split() == ["span", "time", "self", "note"]
    assert lines[3].startswith("  <i>one</i>")
    shown = recorded._repr_mimebundle_()["text/html"]
    assert "<i>" not in shown
    assert "&lt;i&gt;one" in shown
