"""Difference: the distance between two lists of outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conduit_lab.core.spec import Array
from conduit_lab.models.measure.difference import compare_outputs, outputs_by_sample
from conduit_lab.runtime.rows.layout import Layout

OLD = np.array([[1.0, -1], [3, -3]], np.float32)  # standard deviation √5


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.floats(width=32)
    )
)
@example(np.array([[np.nan, np.inf], [-np.inf, 1]], np.float32))
def test_any_output_equals_itself(output: Array) -> None:
    got = compare_outputs([output], [output.copy()])
    assert (got.relative, got.worst, got.largest) == (0, 0, 0)


def test_relative_is_the_root_mean_square_by_the_spread_of_the_old() -> None:
    got = compare_outputs([OLD], [OLD + np.array([[0, 0], [1, 1]], np.float32)])
    assert got.relative == pytest.approx(math.sqrt(1 / 2) / math.sqrt(5))
    assert got.worst == pytest.approx(1 / math.sqrt(5))
    assert got.largest == 1
    assert got.samples == 2


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 1e3))
def test_relative_does_not_depend_on_the_unit(unit: float) -> None:
    moved = OLD + np.array([[0.1], [0.2]])
    assert compare_outputs([OLD * unit], [moved * unit]).relative == pytest.approx(
        compare_outputs([OLD], [moved]).relative
    )


def test_of_several_outputs_the_worst_counts() -> None:
    assert (
        compare_outputs([OLD, OLD], [OLD, -OLD]).relative
        == compare_outputs([OLD], [-OLD]).relative
        > 1
    )


@pytest.mark.parametrize(
    "new", [OLD[:1], np.array([[1, -1], [3, np.nan]]), np.array([[1, -1], [np.inf, -3]])]
)
def test_incomparable_outputs_are_infinitely_far(new: Array) -> None:
    assert compare_outputs([OLD], [new]).relative == math.inf


def test_one_number_is_measured_by_its_own_size() -> None:
    assert compare_outputs([np.array([4.0])], [np.array([3.0])]).relative == 0.25


def test_zeros_are_measured_as_they_are() -> None:
    assert compare_outputs([np.zeros((2, 2))], [np.full((2, 2), 0.5)]).relative == 0.5


@pytest.mark.parametrize("kind", [np.int64, np.str_, object])
def test_of_whole_numbers_and_text_the_share_of_others_counts(kind: type) -> None:
    got = compare_outputs(
        [np.array([1, 2, 3, 4]).astype(kind)], [np.array([1, 2, 3, 5]).astype(kind)]
    )
    assert (got.relative, got.largest) == (0.25, 0)


def test_labels_agree_where_the_largest_of_a_row_does() -> None:
    got = compare_outputs(
        [np.array([0, 1]), OLD], [np.array([0, 1]), OLD * [[1], [-1]]], labelled=True
    )
    assert got.same_label == 0.5


def test_maps_of_probabilities_are_compared_as_numbers() -> None:
    old, new = [{"a": 0.5, "b": 0.5}], [{"a": 0.25, "b": 0.75}]
    assert compare_outputs([old], [new], labelled=False).largest == 0.25


def test_vectors_have_a_cosine() -> None:
    got = compare_outputs([np.eye(2)], [np.array([[2.0, 0], [1, 1]])], vectors=True)
    assert got.cosine == pytest.approx((math.sqrt(0.5), (1 + math.sqrt(0.5)) / 2))


def test_numbers_lists_and_maps_are_compared() -> None:
    old = [np.float32(4), [OLD, 2 * OLD], [{"a": 0.25, "b": 0.75}, {"a": 0.5, "b": 0.5}]]
    assert compare_outputs(old, old).largest == 0
    assert compare_outputs(old, [np.float32(6), *old[1:]]).largest == 2
    assert compare_outputs(old, [old[0], [OLD, 2 * OLD + 3], old[2]]).largest == 3
    assert (
        compare_outputs(old, [*old[:2], [{"a": 0.75, "b": 0.25}, {"a": 0.5, "b": 0.5}]]).largest
        == 0.5
    )


def test_runs_are_put_together_with_the_samples_first() -> None:
    where = Layout(("x",), (0,), (1, None, None))
    runs = [[np.full((3, rows), rows), np.float32(rows), np.arange(rows)] for rows in (2, 1)]
    first, number, found = outputs_by_sample(where, runs)
    np.testing.assert_array_equal(first, [[2] * 3, [2] * 3, [1] * 3])
    np.testing.assert_array_equal(number, [[2], [1]])
    np.testing.assert_array_equal(found, [0, 1, 0])
