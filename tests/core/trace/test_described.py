from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.trace.described import MAX_DESCRIPTION, described
from conduit_lab.models.prediction import Prediction, Predictions


class Slow:
    def __repr__(self) -> str:
        raise AssertionError("a description makes no repr of unknown objects")


class Broken:
    @property
    def shape(self) -> Any:
        raise RuntimeError("it is gone")


SHOWN: list[tuple[Any, str]] = [
    (np.zeros((1, 384), np.float32), "float32 [1, 384]"),
    (np.float32(0.25), "float32 0.25"),
    ("x" * 43, "text, 43 characters"),
    ("returns", "'returns'"),
    ("two\nlines", "text, 9 characters"),
    (b"a", "1 byte"),
    (None, "None"),
    (True, "True"),
    (3, "3"),
    (0.123456, "0.1235"),
    (math.nan, "nan"),
    (10**5000, "large int"),
    ([], "empty list"),
    (["a", "b"], "list of 2 × text"),
    ([np.zeros(3), np.zeros(3)], "list of 2 × float64 [3]"),
    ((1, "a"), "tuple of 2 values"),
    ({}, "empty dict"),
    ({"text": "a"}, "dict with text"),
    (dict.fromkeys("abcdef"), "dict with a, b, c, d and 2 more"),
    (Prediction("returns", 0.934, {}), "Prediction(returns, 0.93)"),
    (Predictions(np.ones((5, 1)), ["a"]), "Predictions, 5 items"),
    (pd.DataFrame({"a": [1, 2]}), "DataFrame, 2 × 1"),
    (Slow(), "Slow"),
    (Broken(), "Broken"),
]


@pytest.mark.parametrize(("value", "text"), SHOWN, ids=[text for _, text in SHOWN])
def test_a_value_is_described_by_type_shape_and_size(value: Any, text: str) -> None:
    assert described(value) == text


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(ANY)
def test_any_value_has_one_bounded_line(value: Any) -> None:
    text = described(value)
    assert 0 < len(text) <= MAX_DESCRIPTION
    assert len(text.splitlines()) == 1
