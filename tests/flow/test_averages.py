"""average, weighted, maximum, minimum and rank_average."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import CompositionError, InputError, ModelRunError
from conduit_lab.flow.averages import average, maximum, minimum, rank_average, weighted
from conduit_lab.models.prediction import Prediction, Predictions

Combine = Callable[[list[Any]], Any]

COMBINES = [average, maximum, minimum, rank_average]
ELEMENTWISE = [average, maximum, minimum, weighted([2, 1])]
SCORES = st.lists(
    st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(any), min_size=1, max_size=6
)


def names(combine: Any) -> str:
    return getattr(combine, "__name__", repr(combine))


def prediction(*scores: float) -> Prediction:
    return Prediction.from_array(np.array(scores), "abc"[: len(scores)])


def test_the_soft_vote_has_the_highest_mean_and_not_the_most_votes() -> None:
    votes = [prediction(0.6, 0.4), prediction(0.6, 0.4), prediction(0.0, 1.0)]
    got = average(votes)
    assert type(got) is Prediction
    assert got == {
        "label": "b",
        "score": pytest.approx(0.6),
        "probabilities": pytest.approx({"a": 0.4, "b": 0.6}),
    }


def test_a_tie_goes_to_the_label_with_more_votes_then_to_the_first() -> None:
    votes = [prediction(0.5, 0.5, 0.0), Prediction("b", 0.5, {"a": 0.5, "b": 0.5})]
    third = Prediction("b", 0.5, {"b": 0.5, "a": 0.5})
    assert average([*votes, third]).label == "b"
    assert average(votes).label == "a"


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        (average, {"a": 0.45, "b": 0.35, "c": 0.2}),
        (maximum, {"a": 0.9, "b": 0.6, "c": 0.4}),
        (minimum, {"a": 0.0, "b": 0.1, "c": 0.0}),
        (weighted([3, 1]), {"a": 0.675, "b": 0.225, "c": 0.1}),
        (rank_average, {"a": (1 + 1 / 3) / 2, "b": (2 / 3 + 1) / 2, "c": (1 / 3 + 2 / 3) / 2}),
    ],
    ids=names,
)
def test_labels_are_lined_up_and_an_unknown_one_is_0(
    combine: Combine, expected: dict[str, float]
) -> None:
    votes = [prediction(0.9, 0.1), Prediction("b", 0.6, {"c": 0.4, "b": 0.6})]
    assert combine(votes).probabilities == pytest.approx(expected)


def test_minimum_prefers_the_label_that_all_members_support() -> None:
    assert minimum([prediction(0.0, 0.4, 0.6), prediction(0.6, 0.4, 0.0)]).label == "b"


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        (average, [2.0, 3.0]),
        (maximum, [3.0, 5.0]),
        (minimum, [1.0, 1.0]),
        (weighted([3, 1]), [1.5, 2.0]),
        (rank_average, [0.625, 0.875]),
    ],
    ids=names,
)
def test_arrays_keep_their_float_dtype(combine: Combine, expected: list[float]) -> None:
    got = combine([np.array([1, 1], np.float32), np.array([3, 5], np.float32)])
    assert got.dtype == np.float32
    assert got.tolist() == expected
    assert combine([[1.0, 1.0], [3.0, 5.0]]).tolist() == expected  # lists, as in JSON


@pytest.mark.parametrize(
    ("combine", "expected"),
    [(average, 2.0), (maximum, 3), (minimum, 1), (weighted([3, 1]), 1.5)],
    ids=names,
)
def test_numbers_give_a_plain_number(combine: Combine, expected: float) -> None:
    for answers in ([1, 3], [np.int64(1), np.array(3)]):
        got = combine(answers)
        assert (got, type(got)) == (expected, type(expected))


def test_booleans_are_numbers() -> None:
    assert average([True, True, False, False]) == 0.5
    assert maximum([True, False]) is True
    assert minimum([True, False]) is False


def test_integers_have_float_means() -> None:
    assert average([np.array([1, 2]), np.array([2, 2])]).tolist() == [1.5, 2.0]
    assert maximum([np.array([1, 2]), np.array([2, 2])]).dtype.kind == "i"


def test_rank_average_takes_scores_of_unlike_scales() -> None:
    got = rank_average([np.array([0.1, 0.2, 0.2]), np.array([900.0, 10.0, 20.0])])
    np.testing.assert_allclose(got, [(1 + 3) / 6, (2.5 + 1) / 6, (2.5 + 2) / 6])


def test_ranks_of_a_batch_are_taken_within_each_row() -> None:
    batch = np.array([[1.0, 2.0], [9.0, 3.0]])
    assert rank_average([batch, batch]).tolist() == [[0.5, 1.0], [1.0, 0.5]]
    assert rank_average([batch[:0], batch[:0]]).shape == (0, 2)


@pytest.mark.parametrize("combine", [*COMBINES, weighted([1, 2, 3])], ids=names)
def test_a_batch_gets_the_answer_of_each_row(combine: Combine) -> None:
    scores = np.random.default_rng(0).dirichlet(np.ones(3), (3, 5))
    batches = [Predictions(member, list("abc")) for member in scores]
    got = combine(list(batches))
    assert isinstance(got, Predictions)
    assert got == [combine(list(row)) for row in zip(*batches, strict=True)]
    np.testing.assert_allclose(combine(list(scores)), got.probabilities)


@settings(max_examples=50, deadline=None)
@given(SCORES, st.randoms(use_true_random=False))
def test_the_order_of_the_members_changes_nothing(scores: list[list[float]], random: Any) -> None:
    votes = [prediction(*row) for row in scores]
    before = [combine(votes) for combine in COMBINES]
    arrays = [combine([np.array(row) for row in scores]) for combine in COMBINES]
    random.shuffle(scores)
    votes = [prediction(*row) for row in scores]
    assert [combine(votes) for combine in COMBINES] == before
    moved = [combine([np.array(row) for row in scores]) for combine in COMBINES]
    np.testing.assert_allclose(moved, arrays, rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(SCORES, st.floats(0.01, 100))
def test_equal_weights_are_the_average_and_probabilities_sum_to_1(
    scores: list[list[float]], weight: float
) -> None:
    votes = [prediction(*(np.array(row) / sum(row))) for row in scores]
    got = average(votes)
    assert sum(got.probabilities.values()) == pytest.approx(1.0)
    assert got.score == max(got.probabilities.values())
    equal = weighted([weight] * len(votes))(votes)
    assert equal.probabilities == pytest.approx(got.probabilities)
    assert weighted([1] * len(votes))(votes) == got
    heavy = weighted([*([0] * (len(votes) - 1)), weight])(votes)
    assert heavy.probabilities == pytest.approx(votes[-1].probabilities)


def test_a_weighted_is_a_value() -> None:
    assert weighted([1, 2]) == weighted(np.array([1, 2], np.float32))
    assert weighted([1, 2]) != weighted([2, 1])
    assert hash(weighted([1, 2])) == hash(weighted([1.0, 2.0]))
    assert repr(weighted(np.array([1, 2]))) == "weighted([1, 2])"
    assert eval(repr(weighted([0.25, 1]))) == weighted([0.25, 1])


@pytest.mark.parametrize(
    "weights", [[], [0, 0], [-1, 2], [np.nan, 1], [np.inf, 1], ["a", "b"], [[1], [2]], "ab"]
)
def test_weights_that_weigh_nothing_are_an_error(weights: Any) -> None:
    with pytest.raises(CompositionError, match="weighted expected finite weights of at least 0"):
        weighted(weights)


def test_each_answer_has_a_weight() -> None:
    with pytest.raises(CompositionError, match="weighted has 2 weights for 3 answers"):
        weighted([1, 2])([1, 2, 3])


@pytest.mark.parametrize("combine", [*COMBINES, weighted([1])], ids=names)
def test_an_empty_list_is_the_callers_mistake(combine: Combine) -> None:
    with pytest.raises(InputError, match=r"expected at least one answer, got none"):
        combine([])


@pytest.mark.parametrize("combine", ELEMENTWISE, ids=names)
@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([np.ones(2), np.ones(3)], r"of one shape, got float64 \[2\], float64 \[3\]"),
        ([np.ones(2), 1.0], r"of one shape, got float64 \[2\], float64 \[\]"),
        (["a", "b"], "got str from member 1; labels are for majority_vote"),
        ([1, None], "got NoneType from member 2"),
        ([1.0, {"a": 1}], "got dict from member 2"),
        ([[1.0], [[1], [1, 2]]], "got list from member 2"),
        ([prediction(1.0), 1.0], "of the same kind, got predictions and float"),
        ([[prediction(1.0)], [prediction(1.0)] * 2], "as many predictions .* got 1, 2"),
    ],
)
def test_answers_that_do_not_fit_together_are_an_error(
    combine: Combine, answers: list[Any], message: str
) -> None:
    with pytest.raises(CompositionError, match=message):
        combine(answers)


def test_plain_numbers_have_no_rank() -> None:
    with pytest.raises(CompositionError, match="expected predictions or arrays"):
        rank_average([1.0, 2.0])


@pytest.mark.parametrize("combine", [*COMBINES, weighted([1, 2])], ids=names)
def test_a_probability_that_is_nan_is_an_error(combine: Combine) -> None:
    with pytest.raises(ModelRunError, match=r"got NaN from member 2; .* min_members="):
        combine([prediction(0.5, 0.5), Prediction("a", 0.5, {"a": 0.5, "b": np.nan})])


@pytest.mark.parametrize("combine", ELEMENTWISE, ids=names)
def test_nan_in_arrays_spreads_as_in_numpy(combine: Combine) -> None:
    got = combine([np.array([1.0, np.nan]), np.array([1.0, 2.0])])
    np.testing.assert_array_equal(got, [1.0, np.nan])
    with pytest.raises(ModelRunError, match="rank_average got NaN from member 1"):
        rank_average([np.array([1.0, np.nan]), np.array([1.0, 2.0])])
