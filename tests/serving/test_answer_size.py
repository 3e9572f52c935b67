"""is_small: few values, none of which is computed on reading."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.serving.answer_size import MAX_SMALL_VALUES, is_small

MANY = 2 * MAX_SMALL_VALUES


class Model(BaseModel):
    """A pydantic model with one value."""

    value: Any


@dataclass
class Data:
    """A dataclass with one value."""

    value: Any


def lazy() -> Iterator[int]:
    """Yield nothing: reading it fails the test."""
    pytest.fail("the answer was read")
    yield 1


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.5,
        "text",
        b"bytes",
        [1.0] * 64,
        ({"a": [1, "b"]},),
        np.zeros(64),
        np.float32(1),
        Prediction("up", 0.5, {"up": 0.5, "down": 0.5}),
        {"topic": Prediction("up", 0.5, {"up": 1.0})},
        Predictions(np.zeros((3, 2)), ["a", "b"]),
        Model(value=[1]),
        Data({"a": 1}),
        datetime(2026, 1, 1),
    ],
    ids=repr,
)
def test_small(value: Any) -> None:
    assert is_small(value)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 100 * MAX_SMALL_VALUES,
        [1.0] * MANY,
        ["x"] * MANY,
        [[1, 2]] * MANY,
        {str(n): n for n in range(MANY)},
        np.zeros(MANY),
        Predictions(np.zeros((MANY, 2)), ["a", "b"]),
        Model(value=[1] * MANY),
        Data(np.zeros(MANY)),
        lazy(),
        [lazy()],
        {"a": {"b": (lazy(),)}},
        Model(value=lazy()),
        Data([lazy()]),
        map(str, [1]),
        {1: 2}.items(),
        deque([1]),
        {1, 2},
    ],
    ids=lambda value: repr(value).split(" at 0x")[0][:30],
)
def test_large_or_lazy(value: Any) -> None:
    assert not is_small(value)


def test_a_nested_answer_takes_bounded_work() -> None:
    value: Any = []
    for _ in range(5):
        value = [value] * 50
    assert not is_small(value)
