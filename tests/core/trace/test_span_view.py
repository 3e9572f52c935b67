from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conduit_lab.core.trace import span_facts
from conduit_lab.core.trace.attributes import Attributes
from conduit_lab.core.trace.span_view import span_line, span_view
from conduit_lab.models.prediction import Prediction, Predictions
from tests.core.trace.made import span

vector = np.arange(12, dtype=np.float32)
MADE = span(
    "topic",
    0,
    0.0125,
    kind="predict",
    given=vector,
    gave=Prediction("returns", 0.93, {}),
    attributes={"device": "cuda", "rows": 3, "cached": True, "detail": "2 cut"},
)


def test_a_span_shows_its_facts_and_values_in_short() -> None:
    lines = span_view(MADE).plain().splitlines()
    assert lines[0] == "Span 'topic' · predict · 12.5 ms · cached"
    assert [line.split(maxsplit=1) for line in lines[2:]] == [
        ["device", "cuda"],
        ["rows", "3"],
        ["remark", "2 cut"],
        ["input", "float32 [12]: 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, … all of it: span.input"],
        ["output", "Prediction(returns, 0.93)"],
    ]


def test_a_span_in_one_line() -> None:
    shown = "predict, 12.5 ms, cached, float32 [12] → Prediction(returns, 0.93)"
    assert span_line(MADE) == f"Span('topic', {shown})"
    failed = span("a", 0, 1, given="text", error=ValueError("no"))
    assert span_line(failed) == "Span('a', call, 1.00 s, 'text' → None, ✕ ValueError: no)"
    assert "running" in span_line(span("a", 0, None))


def test_an_error_is_a_sentence_and_self_time_is_shown_where_it_differs() -> None:
    shown = span_view(span("a", 0, 3, span("b", 0, 1), error=ValueError("no\nmore"))).plain()
    assert "✕ ValueError: no" in shown and "more" not in shown
    assert "self time  2.00 s" in shown


def test_dropped_values_say_so() -> None:
    dropped = span("a", 0, 1, given=vector)
    dropped.forget()
    assert "dropped" in span_view(dropped).plain()


PREVIEWS: list[tuple[Any, str]] = [
    ("a text " * 100, "text, 700 characters: a text a text"),
    ({"text": "some words", "v": vector}, "dict with text, v: text: some words, v: 0.0, 1.0"),
    ([object()], "list of 1 × object: object"),
    ([], "empty list"),
    (object(), "object"),
]


@pytest.mark.parametrize(("value", "text"), PREVIEWS, ids=[text[:9] for _, text in PREVIEWS])
def test_an_input_has_a_short_preview(value: Any, text: str) -> None:
    shown = span_view(span("a", 0, 1, given=value)).plain()
    assert f"input     {text}" in shown
    assert max(map(len, shown.splitlines())) < 300


class Held:
    """A model as far as facts need it; opening it is an error."""

    def __init__(self, state: str) -> None:
        self.held = type("Held", (), {"state": state})()

    @property
    def device(self) -> str:
        raise AssertionError("it opens the model")


@pytest.mark.parametrize(
    ("target", "attributes", "device"),
    [
        (Held("numpy"), {}, "numpy"),
        (Held("evicted"), {}, ""),
        (Held("cuda"), {"device": "cpu"}, "cpu"),
        (None, {}, ""),
    ],
)
def test_the_device_is_the_recorded_one_or_that_of_the_open_model(
    target: Any, attributes: Attributes, device: str
) -> None:
    made = span("a", 0, 1, kind="predict", target=target, attributes=attributes)
    assert span_facts.device(made) == device


@pytest.mark.parametrize(
    ("given", "gave", "rows"),
    [
        (["a", "b"], vector, 2),
        (vector, Predictions(np.ones((5, 2)), ["a", "b"]), 5),
        (vector, Prediction("a", 1.0, {}), None),
    ],
)
def test_the_rows_of_a_batch_are_counted(given: Any, gave: Any, rows: int | None) -> None:
    assert span_facts.rows(span("a", 0, 1, kind="predict", given=given, gave=gave)) == rows
    assert span_facts.rows(span("a", 0, 1, kind="call", given=given, gave=gave)) is None
