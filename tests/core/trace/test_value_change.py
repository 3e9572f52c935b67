from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.trace.value_change import EQUAL, text_diff, value_change
from conduit_lab.models.prediction import Prediction, Predictions

ONE = np.array([1.0, 0.0, 2.0])
TWO = np.array([1.0, 0.5, 2.0])


def prediction(label: str, score: float) -> Prediction:
    return Prediction(label, score, {label: score})


CHANGES: list[tuple[Any, Any, str]] = [
    (ONE, ONE.copy(), EQUAL),
    (prediction("a", 0.5), prediction("a", 0.5), EQUAL),
    (prediction("a", 0.9312), prediction("b", 0.5), "a 0.931 → b 0.500"),
    (
        Prediction("a", 0.5, {"a": 0.5, "b": 0.5}),
        Prediction("a", 0.5, {"a": 0.5, "b": 0.4}),
        "a 0.500, other probabilities",
    ),
    (ONE, TWO, "max |Δ| 0.5, mean 0.167, cosine 0.975900"),
    (ONE, np.ones((1, 2)), "float64 [3] → float64 [1, 2]"),
    (ONE, ONE.astype(np.float32), "equal values, float64 → float32"),
    (
        np.array([np.nan, 1.0]),
        np.array([0.0, 3.0]),
        "max |Δ| 2, mean 2, 1 value not finite in one of them",
    ),
    (3, 5, "3 → 5 (+2)"),
    (1.0, 0.75, "1.0 → 0.75 (-0.25)"),
    (np.float32(1), np.float32(2), "float32 1.0 → float32 2.0 (+1)"),
    (True, False, "True → False"),
    ("the cat sat", "the dog sat", "'cat sat' → 'dog sat' from character 5"),
    ("same", "same and more", "'' → 'and more' from character 5"),
    ({"a": 1, "b": ONE}, {"a": 1, "b": TWO}, "b: max |Δ| 0.5, mean 0.167, cosine 0.975900"),
    ({"a": 1}, {"b": 1}, "a gone; b new"),
    ([1, 2, 3], [1, 4], "3 → 2 items; [1]: 2 → 4 (+2)"),
    (list(range(9)), [0] * 9, "[1]: 1 → 0 (-1); [2]: 2 → 0 (-2); [3]: 3 → 0 (-3); [4]: 4 → 0 (-4)"),
    ("a", 1, "'a' → 1"),
    (None, ONE, "None → float64 [3]"),
]


@pytest.mark.parametrize(("first", "second", "words"), CHANGES, ids=[w for *_, w in CHANGES])
def test_a_change_is_said_by_the_kind_of_the_answers(first: Any, second: Any, words: str) -> None:
    assert value_change(first, second).removesuffix("; 4 more items") == words


def test_batches_of_predictions_are_compared_by_their_probabilities() -> None:
    batches = [Predictions(np.array([[p, 1 - p]]), ["a", "b"]) for p in (0.5, 0.75)]
    assert value_change(batches[0], batches[1]).startswith("max |Δ| 0.25, mean 0.25")
    assert value_change(batches[0], batches[0][:]) == EQUAL


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(PLAIN, PLAIN)
def test_any_two_values_have_a_change_in_one_line(first: Any, second: Any) -> None:
    assert value_change(first, first) == EQUAL
    assert value_change(first, second)


def test_a_text_diff_has_the_lines_that_differ() -> None:
    assert text_diff("one\ntwo\nthree", "one\n2\nthree").split("\n") == [
        "@@ -1,3 +1,3 @@",
        " one",
        "-two",
        "+2",
        " three",
    ]
