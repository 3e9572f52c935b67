"""The comparison of two answers, and the line of an example."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.export.agreement import difference
from conduit_lab.serving.recorded import Example

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(json_values)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert difference(value, value) is None


@pytest.mark.parametrize(
    ("expected", "got", "message"),
    [
        (1, 2, "answer is 2, not 1"),
        (1.0, 1.001, "answer is 1.001, not 1.0"),
        ("a", "b", 'answer is "b", not "a"'),
        (True, 1, "answer is 1, not true"),
        (None, 0, "answer is 0, not null"),
        ([1, 2], [1], "answer has 1 items, not 2"),
        ({"a": 1}, {"b": 1}, "answer has the keys ['b'], not ['a']"),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "answer.a[1].b is 3, not 2"),
    ],
)
def test_the_first_difference_is_named_with_its_place(
    expected: Any, got: Any, message: str
) -> None:
    assert difference(expected, got) == message


def test_only_a_model_gives_floats_a_tolerance() -> None:
    assert difference([0.1, 1], [0.1 + 1e-7, 1], "tolerance") is None
    assert difference([0.1], [0.125]) == "answer[0] is 0.125, not 0.1"
    assert difference([0.1 + 0.2], [0.3]) is not None
    assert difference(1.0, 1, "tolerance") == "answer is 1, not 1.0"
    assert difference(5, 6, "tolerance") == "answer is 6, not 5"


@pytest.mark.parametrize(
    ("expected", "got", "message"),
    [
        ("ten past two", "noon", None),
        ({"at": 1.5, "n": [1, 2]}, {"at": 2.5, "n": [3]}, None),
        ([], ["a"], None),
        (None, "a", None),
        ({"at": 1}, {"on": 1}, "answer has the keys ['on'], not ['at']"),
        ({"at": 1.5}, {"at": "x"}, 'answer.at is str "x", not float 1.5'),
        ([{"a": 1}], [{"a": "b"}], 'answer[0].a is str "b", not int 1'),
    ],
)
def test_answers_that_vary_have_one_shape(expected: Any, got: Any, message: str | None) -> None:
    assert difference(expected, got, "shape") == message


def test_the_answer_of_a_write_is_not_compared() -> None:
    assert difference(1, "x", "answered") is None


@settings(max_examples=50, deadline=None)
@given(json_values, json_values)
def test_an_example_survives_its_line(payload: Any, answer: Any) -> None:
    example = Example("POST", "/a", "value", payload, answer, writes=True)
    assert "\n" not in example.to_json()
    assert Example.from_json(example.to_json()) == example


def test_a_path_that_is_not_ascii_is_asked_for_percent_encoded() -> None:
    example = Example("POST", "/größe/{wort}", "value", {}, 1, path_params={"wort": "naïv/é"})
    assert example.target == "/gr%C3%B6%C3%9Fe/na%C3%AFv/%C3%A9"
    assert Example("GET", "/a%b", "value", {"q": "é"}, 1).target == "/a%25b?q=%C3%A9"
