"""The weight of a value: with everything inside it, and in bounded work."""

from __future__ import annotations

from collections import deque, namedtuple
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from conduit_lab.core.weight import weight

KILO = "x" * 1000


@dataclass
class Plain:
    text: str


@dataclass(slots=True)
class Slotted:
    text: str


class Model(BaseModel):
    text: str


class Object:
    def __init__(self, text: str) -> None:
        self.text = text


Row = namedtuple("Row", "text")


@pytest.mark.parametrize(
    "kind",
    [Plain, Slotted, Object, Row, lambda text: Model(text=text)],
    ids=lambda kind: kind.__name__,
)
def test_objects_count_with_their_content(kind: Any) -> None:
    assert 1000 <= weight(kind(KILO)) < 3000
    assert 1000 <= weight({"deep": [{"deeper": kind(KILO)}]}) < 4000


@pytest.mark.parametrize(
    "chunk",
    [
        {"a": {"b": {"c": [KILO]}}},
        [[[[KILO]]]],
        ({"a": (KILO,)},),
        {1: {KILO}},
        deque([[KILO]]),
        {KILO: [1]},
        MappingProxyType({"a": [KILO]}),
        {"image": np.zeros(1000, np.uint8)},
        [{"a": memoryview(bytes(1000))}],
        [[b"x" * 1000]],
    ],
    ids=lambda chunk: type(chunk).__name__,
)
def test_nested_parts_count(chunk: Any) -> None:
    assert 1000 <= weight(chunk) < 3000


def test_text_bytes_and_arrays_count_as_their_length() -> None:
    assert (weight("abc"), weight(b"abc"), weight(np.zeros(10))) == (3, 3, 80)


def test_a_part_that_is_shared_counts_once() -> None:
    part = [KILO]
    assert weight([part, part, part]) < 2000


def test_a_value_that_holds_itself_is_weighed() -> None:
    value: list[Any] = [KILO]
    value.append(value)
    assert 1000 <= weight(value) < 2000


@pytest.mark.parametrize("count", [10_000, 100_000])
def test_a_long_container_is_estimated_from_a_sample(count: int) -> None:
    assert weight([[n] for n in range(count)]) == pytest.approx(count * (8 + 64 + 28), rel=0.3)


def test_unvisited_parts_count_like_the_others() -> None:
    rows = [[f"{row:04}{column:04}" * 125 for column in range(60)] for row in range(60)]
    assert weight(rows) == pytest.approx(3600 * 1049, rel=0.1)


def test_many_heavy_items_among_few_looks() -> None:
    assert weight([str(n) * 1000 for n in range(10, 100)]) == pytest.approx(90 * 2049, rel=0.05)
