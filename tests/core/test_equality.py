"""Equality of answers: tolerance for floats only, and the first place that differs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conduit_lab.core.equality import first_difference, same_answer

A = np.array([1000.0, 1e-3, np.nan, np.inf], np.float32)


@pytest.mark.parametrize(
    ("got", "same"),
    [
        (A.copy(), True),
        (A + np.array([0, 5e-4, 0, 0], np.float32), True),  # near, of the largest number
        (A + np.array([0, 5e-3, 0, 0], np.float32), False),
        (np.nan_to_num(A), False),
        (A[:3], False),
    ],
)
def test_floats_are_equal_within_the_size_of_the_answer(got: Any, same: bool) -> None:
    assert same_answer(A, got, 0.0, 1e-6) is same


def test_lists_and_scores_by_class_are_compared_part_by_part() -> None:
    assert same_answer([A, A], [A, A.copy()], 0.0, 1e-6)
    assert not same_answer([A, A], [A], 0.0, 1e-6)
    assert not same_answer([A, A], [A, A + 1], 0.0, 1e-6)
    assert same_answer({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0 + 1e-7}, 0.0, 1e-6)
    assert not same_answer({"a": 1.0, "b": 2.0}, {"a": 1.0, "c": 2.0}, 0.0, 1e-6)


def test_integers_must_be_equal() -> None:
    ids = np.array([100_000, 2])
    assert same_answer(ids, ids.copy(), 1e-3, 1e-3)
    assert not same_answer(ids, ids + 1, 1e-3, 1e-3)


@pytest.mark.parametrize(
    ("expected", "got", "difference"),
    [
        ({"a": [1, 2.0]}, {"a": [1, 2.00001]}, None),
        ({"a": [1, 2.0]}, {"a": [1, 2.1]}, "answer.a[1] is 2.1, not 2.0"),
        ({"a": 1}, {"a": 2}, "answer.a is 2, not 1"),
        ({"a": 1}, {"a": True}, "answer.a is true, not 1"),
        ({"a": 1}, {"b": 1}, "answer has the keys ['b'], not ['a']"),
        ([1], [1, 2], "answer has 2 items, not 1"),
        ([1], None, "answer is null, not [1]"),
        ({"a": 1}, [1], 'answer is [1], not {"a": 1}'),
        (1.0, 1, "answer is 1, not 1.0"),
        (1, True, "answer is true, not 1"),
        (1e-9, 2e-9, None),
        (1.0, "x", 'answer is "x", not 1.0'),
        ("x", None, 'answer is null, not "x"'),
    ],
)
def test_the_first_difference_of_json_values(
    expected: Any, got: Any, difference: str | None
) -> None:
    assert first_difference(expected, got, relative=1e-4, absolute=1e-5) == difference


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        (0.1 + 0.2, 0.3, False),
        (0.3, 0.3, True),
        (0.0, -0.0, False),
        (float("nan"), float("nan"), True),
        ([1, "a", None], [1, "a", None], True),
        ([True], [1], False),
    ],
)
def test_without_a_tolerance_values_are_equal_bit_by_bit(
    expected: Any, got: Any, same: bool
) -> None:
    assert (first_difference(expected, got, relative=0, absolute=0) is None) is same
