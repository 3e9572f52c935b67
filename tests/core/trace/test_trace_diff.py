from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conduit_lab.core.trace.trace import Trace
from tests.core.trace.made import span, trace

vector = np.arange(4.0)


def call(seconds: float, *names: str, gave: Any = vector, **values: Any) -> Trace:
    stages = [span(name, n * seconds, (n + 1) * seconds, gave=gave) for n, name in enumerate(names)]
    return trace(*stages, seconds=seconds * len(names), **values)


def test_stages_are_matched_by_name_and_order() -> None:
    diff = call(1, "a", "b", "a").diff(call(2, "a", "a", "b"))
    assert [(c.name, c.depth, c.ratio, c.change) for c in diff] == [
        ("call", 0, 2.0, "equal"),
        ("a", 1, 2.0, "equal"),
        ("b", 1, 2.0, "equal"),
        ("a", 1, 2.0, "equal"),
    ]
    assert diff.equal and len(diff) == 4 and diff[0].name == "call"
    assert repr(diff).splitlines()[0] == ("Trace diff 'call' · 3.00 s → 6.00 s · all answers equal")


def test_a_stage_of_one_trace_alone_says_so_at_its_place() -> None:
    diff = call(1, "a", "b", "d").diff(call(1, "new", "a", "c", "d"))
    assert [(change.name, change.change) for change in diff][1:] == [
        ("new", "only in the second trace"),
        ("a", "equal"),
        ("c", "only in the second trace"),
        ("b", "only in the first trace"),
        ("d", "equal"),
    ]
    assert not diff.equal
    assert "2 of 5 stages equal" in repr(diff)
    assert [change.ratio for change in diff][1::3] == [None, None]


def test_stages_below_others_are_matched_within_them() -> None:
    def nested(gave: Any) -> Trace:
        inner = [span("x", 0, 1, gave=gave), span("y", 1, 2, gave=vector)]
        return trace(span("outer", 0, 2, *inner), span("x", 2, 3, gave=vector), seconds=3)

    changes = nested(1).diff(nested(2))
    assert [(c.name, c.depth, c.change) for c in changes] == [
        ("call", 0, "equal"),
        ("outer", 1, "equal"),
        ("x", 2, "1 → 2 (+1)"),
        ("y", 2, "equal"),
        ("x", 1, "equal"),
    ]


def test_another_input_is_a_fact() -> None:
    one, two = (call(1, "a", given={"text": text}) for text in ("one", "two"))
    assert "other input" in repr(one.diff(two))
    assert "other input" not in repr(one.diff(one))


def test_two_calls_of_other_names_are_compared() -> None:
    diff = call(1, "a", name="old").diff(call(1, "a", name="new"))
    assert [change.change for change in diff] == ["equal", "equal"]
    assert repr(diff).startswith("Trace diff 'old and new'")


def test_errors_running_and_dropped_stages_have_words() -> None:
    failed = trace(span("a", 0, 1, error=ValueError("no")), seconds=1)
    running = trace(span("a", 0, None), seconds=1)
    dropped = call(1, "a")
    dropped["a"].forget()
    good = call(1, "a")
    assert good.diff(failed)[1].change == "answered → ✕ ValueError: no"
    assert failed.diff(failed)[1].change == "both ✕ ValueError: no"
    assert good.diff(running)[1].change == "running in the second trace"
    assert dropped.diff(good)[1].change == "dropped in the first trace"
    assert good.diff(running)[1].ratio is None


def test_texts_that_differ_are_shown_as_a_diff() -> None:
    texts = ["one line\nanother", "one line\nthe other"]
    shown = call(1, "writer", gave=texts[0]).diff(call(1, "writer", gave=texts[1]))
    assert "-another\n+the other" in repr(shown)
    assert "+the other" in shown._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("name", ["<b>", "a|b"])
def test_hostile_names_are_only_text(name: str) -> None:
    diff = call(1, name, gave="x").diff(call(1, name, gave="<i>y"))
    html = diff._repr_mimebundle_()["text/html"]
    assert html.count("<b>") == 2  # the names in the two header lines
    assert "<i>" not in html
