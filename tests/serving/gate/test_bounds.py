"""Bounds: a number, list or text of a request outside of its bounds is the client's mistake."""

from __future__ import annotations

import math
from typing import Any

import pytest

from conduit_lab.core.errors import InputError
from conduit_lab.serving.gate.bounds import bounded, bounded_length, check_empty

HUGE = int("9" * 5000, 16)
HUGE_CASE = pytest.param(HUGE, id="huge")


@pytest.mark.parametrize(
    "value", [0, 9, -1, 10**30, HUGE_CASE, 1.0, 2.5, math.nan, True, None, "3", [3]]
)
def test_an_integer_outside_of_its_bounds_is_an_input_error(value: Any) -> None:
    with pytest.raises(InputError, match="top_k expects an integer from 1 to 8, got"):
        bounded(value, "top_k", 1, 8)


@pytest.mark.parametrize("value", [-0.1, 2.1, math.nan, math.inf, HUGE_CASE, False, "1", {}])
def test_a_number_outside_of_its_bounds_is_an_input_error(value: Any) -> None:
    with pytest.raises(InputError, match=r"temperature expects a number from 0\.0 to 2\.0, got"):
        bounded(value, "temperature", 0.0, 2.0)


def test_the_bounds_themselves_are_within() -> None:
    assert [bounded(value, "n", 1, 8) for value in (1, 8)] == [1, 8]
    number = bounded(1, "temperature", 0.0, 2.0)
    assert (number, type(number)) == (1.0, float)


def test_the_error_is_short_for_every_value() -> None:
    for value in (HUGE, "x" * 10**6, ["x" * 10**6], -HUGE):
        with pytest.raises(InputError) as error:
            bounded(value, "n", 1, 8)
        assert len(str(error.value)) < 100


def test_a_list_and_a_text_have_a_bounded_length() -> None:
    assert bounded_length([1, 2], "input", 2) == [1, 2]
    with pytest.raises(InputError, match=r"input expects 0 to 2,048 items, got 2,049"):
        bounded_length([0] * 2049, "input", 2048)
    with pytest.raises(InputError, match=r"stop expects 1 to 4 characters, got 0"):
        bounded_length("", "stop", 4, 1)


@pytest.mark.parametrize("shape", [(2**21, 0), (0, 2**21), (2**11, 0, 2**10), (0, 10**30)])
def test_the_other_axes_of_an_empty_array_have_bounds(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        InputError, match=r"input is empty: its other axes expect at most 1,048,576"
    ):
        check_empty(shape, "input")


@pytest.mark.parametrize("shape", [(), (0,), (2**20, 0), (0, 1024, 1024), (2**40, 1)])
def test_an_array_with_elements_or_short_axes_is_within(shape: tuple[int, ...]) -> None:
    check_empty(shape, "input")
