"""JSON: parsed strictly, written for every value that has a form."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from conduit_lab import App, Prediction
from conduit_lab.core.errors import InputError
from conduit_lab.serving import codec
from tests.serving.conftest import Ask


class Shelf(BaseModel):
    name: str


@dataclasses.dataclass
class Item:
    name: str
    size: tuple[int, int]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (np.array([0.5], np.float16), [0.5]),
        (np.array(["a", "b"]), ["a", "b"]),
        ({1: "a"}, {"1": "a"}),
        ((1, 2), [1, 2]),
        ({"b", "a"}, ["a", "b"]),
        (Path("a/b"), "a/b"),
        (Shelf(name="top"), {"name": "top"}),
        (Item("pan", (2, 3)), {"name": "pan", "size": [2, 3]}),
        (
            Prediction("up", 0.75, {"up": 0.75}),
            {"label": "up", "score": 0.75, "probabilities": {"up": 0.75}},
        ),
        ([math.nan, math.inf, -math.inf], [None, None, None]),
        (np.array([math.nan, 1.0]), [None, 1.0]),
        ((n for n in range(3)), [0, 1, 2]),
    ],
)
def test_an_answer_has_its_plain_json_form(value: Any, expected: Any) -> None:
    assert json.loads(codec.dumps(value)) == expected
    assert json.loads(codec.dumps({"in": [expected]})) == {"in": [expected]}


@given(
    body=st.binary(max_size=40)
    | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_either_json_or_an_input_error(body: bytes) -> None:
    try:
        value = codec.loads(body)
    except InputError:
        return
    assert codec.loads(codec.dumps(value)) == value


@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1))
@settings(max_examples=200, deadline=None)
def test_a_number_comes_back_bit_for_bit(value: float) -> None:
    back = codec.loads(codec.dumps(value))
    assert (type(back), back) == (type(value), value)


def test_the_same_answer_is_given_in_python_and_over_http(app: App, asking: Ask) -> None:
    @app.post("/stats")
    def stats(numbers: list[float]) -> dict[str, Any]:
        array = np.asarray(numbers, np.float32)
        return {
            "mean": array.mean(),
            "all": array,
            "top": Prediction("up", 0.5, {"up": 0.5}),
            "none": None,
        }

    body = {"numbers": [0.1, 0.2, 0.7]}
    answer = asking(app).post("/stats", json=body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == codec.loads(codec.dumps(stats(**body)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("\ud800", "\ud800"),
        (2**70, 2**70),
        (np.array([1, 2], ">i4"), [1, 2]),
        ({"a": [2**70, Path("x")]}, {"a": [2**70, "x"]}),
        (Item("pan", (2**70, 3)), {"name": "pan", "size": [2**70, 3]}),
    ],
)
def test_what_the_fast_encoder_refuses_is_sent_all_the_same(value: Any, expected: Any) -> None:
    assert json.loads(codec.dumps(value)) == expected


def test_a_text_that_is_no_json_is_an_input_error() -> None:
    with pytest.raises(InputError, match="the body is not valid JSON"):
        codec.loads(b"{")


def test_no_answer_holds_a_nan_that_json_does_not_know() -> None:
    assert codec.dumps([2**70, math.nan, -math.inf]) == b"[%d,null,null]" % 2**70
