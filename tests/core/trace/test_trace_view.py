"""A trace as a cell's value: the rows of its waterfall, and the text around them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from conduit_lab.core.stage import Function
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.trace import Trace
from conduit_lab.core.trace.trace_view import trace_view
from tests.core.trace.made import span, trace

vector = np.zeros((1, 384), np.float32)


def page(recorded: Trace) -> str:
    html: str = recorded._repr_mimebundle_()["text/html"]
    return html


def test_the_rows_are_indented_with_a_bar_on_a_shared_clock() -> None:
    recorded = trace(
        span("first", 0, 2, span("inner", 1, 2)),
        span("second", 2, 8, kind="predict", gave=vector, attributes={"device": "cpu"}),
        seconds=8,
    )
    assert repr(recorded).splitlines() == [
        "Trace 'call' · 8.00 s · 3 stages",
        "span                                   time    self  device  note",
        "call       ────────────────────────  8.00 s    0 µs",
        "  first    ███───                    2.00 s  1.00 s",
        "    inner     ███                    1.00 s",
        "  second         ██████████████████  6.00 s          cpu     float32 [1, 384]",
    ]


def test_one_stage_is_counted_in_the_singular_and_none_not_at_all() -> None:
    assert repr(trace(span("a", 0, 1), seconds=1)).splitlines()[0].endswith(" · 1 stage")
    assert repr(trace(seconds=1)).splitlines()[0] == "Trace 'call' · 1.00 s"


def test_the_critical_path_is_bold_without_its_shortest_spans() -> None:
    root = trace(
        span("short", 0, 4),
        span("long", 0, 6),
        span("tiny", 6, 6.1),
        span("end", 7, 10),
        seconds=10,
    ).root
    view = trace_view(root)
    assert view.waterfall is not None
    assert [row.name for row in view.waterfall.rows if row.critical] == ["call", "long", "end"]
    assert re.findall(r"<b>(\w+)</b></div>", view.html()) == ["call", "long", "end"]


def test_an_error_is_shown_once_where_it_began() -> None:
    error = ValueError("the rates service answered 503")
    inner = span("rates", 0, 1, error=error)
    recorded = trace(span("fallback", 0, 1, inner, error=error), seconds=1, error=error)
    shown = repr(recorded)
    assert shown.count("ValueError: the rates service answered 503") == 1
    assert shown.splitlines()[-1].strip() == "ValueError: the rates service answered 503"
    assert shown.count("✕") == 3
    assert page(recorded).count("ValueError: the rates service answered 503") == 1


def test_a_running_span_says_so_and_has_a_bar_until_now() -> None:
    lines = repr(trace(span("a", 0, None), seconds=0.0)).splitlines()
    assert "running" in lines[3] and "█" in lines[3]


def test_many_repeated_stages_are_counted_in_a_row() -> None:
    loop = [span("topic", n, n + 0.5, kind="predict", gave=n) for n in range(30)]
    loop[3].error = ValueError("no")
    loop[4].attributes = {"cached": True}
    recorded = trace(*loop, seconds=30)
    (row,) = [line for line in repr(recorded).splitlines() if "topic × 30" in line]
    assert "15.0 s" in row and row.endswith("1 cached · 1 failed · 500 ms each")


def test_spans_without_a_row_are_counted() -> None:
    recorded = trace(*(span(f"n{n}", n, n + 1) for n in range(30)), seconds=30)
    assert repr(recorded).splitlines()[-1] == "11 more spans: `list(trace)`"
    assert "11 more spans" in page(recorded)


def test_states_and_remarks_are_words() -> None:
    stages = [
        span("a", 0, 1, attributes={"cached": True, "fallback": "rules", "detail": "2 cut"}),
        span("b", 1, 2, attributes={"kept": True}),
        span("c", 2, 3, given=vector),
    ]
    stages[2].forget()
    recorded = trace(*stages, seconds=3)
    lines = repr(recorded).splitlines()
    assert lines[0].endswith("3 stages · 1 kept · values of 1 span dropped")
    assert lines[3].endswith("cached · answered by rules · 2 cut")
    assert lines[4].endswith("kept")
    assert lines[5].endswith("dropped")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"'><img src=x>", "`<i>`"])
def test_hostile_names_and_errors_are_only_text(name: str) -> None:
    recorded = trace(span(name, 0, 1, error=ValueError(name), gave=name), seconds=1, name=name)
    for raw in ("<script", "<img", "<i>"):
        assert raw not in page(recorded)


def test_a_nested_trace_starts_at_its_own_start() -> None:
    inner = span("inner", 5, 9, span("a", 5, 7))
    assert repr(Trace(inner)).splitlines()[3].split() == ["a", "████████████", "2.00", "s"]


def test_a_deep_trace_is_shown() -> None:
    deepest = span("leaf", 0, 1)
    for _ in range(500):
        outer = span("deep", 0, 1)
        outer.children, outer.record.spans = [deepest], 501
        deepest = outer
    assert "more spans" in repr(Trace(deepest)) and Trace(deepest).hints == []


def test_looking_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    stage = Function(lambda value: calls.append(value), name="stage")
    with recorder.record("call") as recorded:
        stage(1)
    assert repr(recorded) and page(recorded) and recorded.to_json() and recorded.to_mermaid()
    assert calls == [1]


def test_a_trace_without_values_is_shown() -> None:
    with recorder.record("call", values=Values(0)) as recorded:
        Function(str, name="stage")(1)
    lines = repr(recorded).splitlines()
    assert lines[3].split()[0] == "stage" and "None" not in repr(recorded)
    assert not recorded.edges and not recorded.hints


# The trace by name


def test_names_complete_and_an_unknown_one_gets_the_nearest() -> None:
    recorded = trace(span("topic", 0, 1), span("mood", 1, 2), span("topic", 2, 3), seconds=3)
    assert recorded._ipython_key_completions_() == ["call", "topic", "mood"]
    assert [each.start for each in recorded.spans("topic")] == [0, 2]
    assert recorded["topic"].start == 0
    with pytest.raises(KeyError, match=r"it has call, topic, mood; did you mean 'topic'\?"):
        recorded["topics"]
