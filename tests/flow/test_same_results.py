"""Equality of results: of any values, numbers within rounding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conduit_lab.flow.lazy_parallel import LazyResults
from conduit_lab.flow.same_results import same_results
from conduit_lab.models.prediction import Prediction, Predictions

ROW = np.array([0.25, 0.75])


@dataclass
class Answer:
    text: str
    score: float
    seconds: float = field(default=0.0, compare=False)


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


SAME: list[tuple[Any, Any]] = [
    (1, 1),
    (0.1 + 0.2, 0.3),
    (float("nan"), float("nan")),
    (ROW, ROW * (1 + 1e-7)),
    (np.float32(1), np.float32(1)),
    ({"a": [ROW, "x"]}, {"a": [ROW.copy(), "x"]}),
    ({"a": "A"}, LazyResults({}, ["a"], str.upper)),
    (Prediction.from_array(ROW, ["n", "y"]), Prediction.from_array(ROW * (1 + 1e-7), ["n", "y"])),
    (Predictions(ROW[None], ["n", "y"]), Predictions(ROW[None] * (1 + 1e-7), ["n", "y"])),
    (Answer("a", 0.5, 1.0), Answer("a", 0.5 + 1e-9, 2.0)),
    (Plain(ROW), Plain(ROW.copy())),
    (Slotted(1), Slotted(1)),
    ({1, 2}, {2, 1}),
    (pd.DataFrame({"a": ROW}), pd.DataFrame({"a": ROW * (1 + 1e-7)})),
    (np.array(["a", None], object), np.array(["a", None], object)),
]
DIFFERENT: list[tuple[Any, Any]] = [
    (1, 2),
    (1, True),
    (1, 1.0),
    (0.3, 0.31),
    (ROW, ROW * 1.01),
    (ROW, ROW.astype(np.float32)),
    (ROW, ROW[:1]),
    ({"a": 1}, {"b": 1}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ([1], (1,)),
    ([1], [1, 2]),
    ("a", "b"),
    (Prediction.from_array(ROW, ["n", "y"]), Prediction.from_array(ROW[::-1], ["n", "y"])),
    (Answer("a", 0.5), Answer("a", 0.6)),
    (Plain(1), Plain(2)),
    (Slotted(1), Slotted(2)),
    (object(), object()),
    (pd.DataFrame({"a": ROW}), pd.DataFrame({"b": ROW})),
    (pd.DataFrame({"a": ROW}), pd.DataFrame({"a": ROW * 2})),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_same(one: Any, other: Any) -> None:
    assert same_results(one, other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: Any, other: Any) -> None:
    assert not same_results(one, other)


def test_results_that_cannot_be_compared_are_not_the_same() -> None:
    class Refuses:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no power")

    endless: list[Any] = []
    endless.append(endless)
    other: list[Any] = []
    other.append(other)
    assert not same_results(Refuses(), Refuses())
    assert not same_results(endless, other)
