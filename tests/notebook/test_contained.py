"""Containers and arrays as a cell's value: cards if they hold values with a view."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from conduit_lab import Parallel, Prediction, Token, VectorStore
from conduit_lab.notebook.views.contained import contained_html, contained_view, register_contained

MOOD = Prediction("calm", 0.75, {"calm": 0.75, "angry": 0.25})


@pytest.fixture(scope="module")
def form() -> Callable[[Any], dict[str, Any]]:
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    register_contained(shell)
    register_contained(shell)

    def form(value: Any) -> dict[str, Any]:
        data, _ = shell.display_formatter.format(value)
        return dict(data)

    return form


def test_the_result_of_a_parallel_has_a_card_per_stage(
    form: Callable[[Any], dict[str, Any]],
) -> None:
    result = Parallel({"mood": lambda _: MOOD, "<length>": len})("abc")
    data = form(result)
    assert data["text/plain"].replace("\n", "") == repr(result)
    assert "<b>calm</b>" in data["text/html"]
    assert "&lt;length&gt;" in data["text/html"]
    assert type(result) is dict


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"a": 1},
        [1, "a"],
        ("a", {"b": [1]}),
        Counter("aab"),
        np.zeros(32, np.float32),
        np.zeros(384, np.int64),
        np.zeros((3, 63)),
        np.zeros((0, 384)),
        np.zeros((2, 3, 384)),
        np.zeros(2_000_000, np.float32),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_keep_their_own_text(
    form: Callable[[Any], dict[str, Any]], value: Any
) -> None:
    assert "text/html" not in form(value)


def test_a_subclass_keeps_its_own_form(form: Callable[[Any], dict[str, Any]]) -> None:
    with VectorStore(2) as store:
        store.add("a", [1, 0])
        hits = store.search([1, 0])
    assert form(hits)["text/html"] == hits._repr_mimebundle_()["text/html"]
    assert form(hits[0])["text/html"] == hits[0]._repr_mimebundle_()["text/html"]
    assert contained_html(OrderedDict(a=MOOD)) is None


def test_many_values_are_counted_and_nesting_ends() -> None:
    lines = contained_view([MOOD] * 30).plain().splitlines()  # type: ignore[union-attr]
    assert lines[0] == "list · 30 values"
    assert lines[-1] == "18 more values"
    nested: Any = MOOD
    for _ in range(3):
        nested = {"in": nested}
    assert "calm" in contained_view(nested).plain()  # type: ignore[union-attr]
    assert contained_view({"in": nested}) is None
    loop: list[Any] = [MOOD]
    loop.append(loop)
    assert "calm" in contained_view(loop).plain()  # type: ignore[union-attr]


def test_tokens_are_rows_with_their_probability() -> None:
    tokens = [
        Token(text, n, n + 7, -0.5, time=0.01 * n) for n, text in enumerate([" <a", "\n"] * 15)
    ]
    view = contained_view(tokens)
    assert view is not None
    lines = view.plain().splitlines()
    assert lines[0] == "tokens · 30 tokens"
    assert any(line.split() == ["'", "<a'", "9", "0.607", "20.0", "ms"] for line in lines)
    assert lines[-1] == "10 more rows"
    assert "&lt;a" in view.html()
    assert contained_view([*tokens, "text"]) is None


def test_an_embedding_is_a_strip(form: Callable[[Any], dict[str, Any]]) -> None:
    vector = np.zeros(384, np.float32)
    vector[0] = -1
    data = form(vector)
    assert data["text/plain"] == repr(vector)
    assert "linear-gradient" in data["text/html"]
    assert contained_view(vector).plain().splitlines() == [  # type: ignore[union-attr]
        "float32 '384' · length 1",
        "384 values: -1, 0, 0, 0, …",
    ]


def test_rows_are_strips_up_to_six() -> None:
    lines = contained_view(np.eye(9, 384) * 2).plain().splitlines()  # type: ignore[union-attr]
    assert lines[0] == "float64 '9 × 384' · length 2"
    assert lines[-1] == "3 more rows"
    varied = np.ones((2, 64)) * [[1], [0.5]]
    assert contained_view(varied).facts == ["lengths 4 to 8"]  # type: ignore[union-attr]


def test_values_that_are_no_numbers_are_shown_too() -> None:
    vector = np.arange(64.0)
    vector[3:5] = np.nan, np.inf
    assert contained_view(vector).facts == ["2 values that are not finite"]  # type: ignore[union-attr]
