"""majority_vote: hard votes, their ties, and batches."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import CompositionError, InputError, ModelRunError
from conduit_lab.flow.votes import majority_vote
from conduit_lab.models.prediction import Prediction, Predictions

SCORES = st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3)


def vote(**probabilities: float) -> Prediction:
    label = max(probabilities, key=lambda key: probabilities[key])
    return Prediction(label, probabilities[label], probabilities)


def test_the_probabilities_are_the_mean_over_the_labels_of_all_members() -> None:
    got = majority_vote([vote(a=1.0), vote(b=1.0), vote(b=0.8, c=0.2)])
    assert type(got) is Prediction
    assert got == {
        "label": "b",
        "score": pytest.approx(0.6),
        "probabilities": pytest.approx({"a": 1 / 3, "b": 0.6, "c": 0.2 / 3}),
    }
    assert list(got.probabilities) == ["a", "b", "c"]


def test_the_order_of_the_labels_may_differ() -> None:
    got = majority_vote([vote(a=0.75, b=0.25), vote(b=0.25, a=0.75), vote(b=1.0, a=0.0)])
    assert got.label == "a"
    assert got.probabilities == {"a": 0.5, "b": 0.5}


def test_a_label_without_a_probability_loses_a_tie() -> None:
    assert majority_vote([Prediction("x", 0.9, {"a": 0.4}), vote(a=0.4)]).label == "a"


def test_a_label_without_a_probability_wins_by_votes_with_the_score_0() -> None:
    got = majority_vote([Prediction("x", 0.9, {"a": 0.4})] * 2)
    assert got == {"label": "x", "score": 0.0, "probabilities": {"a": 0.4}}


def test_a_tie_in_votes_and_mean_goes_to_the_first_label_of_the_first_member() -> None:
    votes = [vote(b=0.75, a=0.25), vote(b=0.25, a=0.75)]
    assert majority_vote(votes).label == "b"
    assert majority_vote(votes[::-1]).label == "b"


def test_rounding_decides_no_tie() -> None:
    """Summed in the order of the members 0.1 + 0.2 + 0.3 is more than 0.3 + 0.2 + 0.1."""
    votes = [
        Prediction("b", 0.1, {"a": 0.3, "b": 0.1}),
        Prediction("a", 0.2, {"a": 0.2, "b": 0.2}),
        Prediction("c", 0.0, {"a": 0.1, "b": 0.3}),
    ]
    assert {majority_vote(order).label for order in permutations(votes)} == {"a"}


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        (["x", "y", "y"], "y"),
        ([2, 1, 1], 1),
        ([2, 1.0], 2),
        ([True, False, False], False),
        ([np.str_("x"), "x", "y"], "x"),
        ([np.array(3), 3, 4], 3),
        ([np.array([0.1, 0.9]), 1, 0], 1),
        ([np.array([0.1, 0.9]), np.array([0.8, 0.2])], 1),
        ([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]], 1),
        ([vote(a=1.0), vote(b=1.0), vote(b=1.0)], "b"),
    ],
)
def test_labels_class_numbers_and_scores_are_votes(votes: list[Any], winner: Any) -> None:
    got = majority_vote(votes)
    label = got.label if isinstance(got, Prediction) else got
    assert label == winner
    assert type(label) is type(winner)


def test_a_tie_of_scores_goes_to_the_class_with_the_higher_mean() -> None:
    assert majority_vote([np.array([0.6, 0.4]), np.array([0.0, 1.0])]) == 1
    assert majority_vote([np.array([0.75, 0.25]), np.array([0.25, 0.75])]) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=9))
def test_most_frequent_label_wins_and_the_earliest_at_a_tie(labels: list[str]) -> None:
    most = max(labels.count(label) for label in labels)
    expected = next(label for label in labels if labels.count(label) == most)
    assert majority_vote(labels) == expected
    assert majority_vote([[label, "z"] for label in labels]).tolist() == [expected, "z"]


@settings(max_examples=50, deadline=None)
@given(st.lists(SCORES, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_no_label_has_more_votes_and_no_order_changes_the_winner(
    scores: list[list[float]], random: Any
) -> None:
    votes = [Prediction.from_array(np.array(row), "abc") for row in scores]
    got = majority_vote(votes)
    counts = {label: sum(v.label == label for v in votes) for label in "abc"}
    assert counts[got.label] == max(counts.values())
    assert got.score == got.probabilities[got.label]
    random.shuffle(votes)
    assert majority_vote(votes) == got
    arrays = [v.to_array() for v in votes]
    assert "abc"[majority_vote(arrays)] == got.label


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(SCORES, min_size=4, max_size=4), min_size=1, max_size=4))
def test_a_batch_gets_the_answer_of_each_row(scores: list[list[list[float]]]) -> None:
    batches = [Predictions(np.array(rows, np.float32), list("abc")) for rows in scores]
    rows = [majority_vote(list(row)) for row in zip(*batches, strict=True)]
    got = majority_vote(batches)
    assert isinstance(got, Predictions)
    assert got == rows
    assert majority_vote([list(batch) for batch in batches]) == rows  # lists of predictions
    arrays = [batch.probabilities for batch in batches]
    assert ["abc"[best] for best in majority_vote(arrays)] == [row.label for row in rows]


def test_a_batch_keeps_the_labels_that_the_graphs_chose() -> None:
    scores = np.array([[0.9, 0.1], [0.9, 0.1]])
    got = majority_vote([Predictions(scores, ["a", "b"], ["b", "a"])] * 2)
    assert [row.label for row in got] == ["b", "a"]
    assert [row.score for row in got] == [0.1, 0.9]


def test_batches_with_different_labels_are_lined_up() -> None:
    got = majority_vote(
        [
            Predictions(np.array([[1.0, 0.0], [0.0, 1.0]]), ["a", "b"]),
            [vote(c=1.0), vote(b=1.0)],
            [vote(c=1.0), vote(a=1.0)],
        ]
    )
    assert got.labels == ["a", "b", "c"]
    assert [row.label for row in got] == ["c", "b"]
    np.testing.assert_allclose(got.probabilities, np.array([[1, 0, 2], [1, 2, 0]]) / 3)


def test_one_prediction_and_a_batch_of_one_are_a_batch() -> None:
    for votes in ([vote(a=1.0), [vote(a=1.0)]], [[vote(a=1.0)], vote(a=1.0)]):
        got = majority_vote(votes)
        assert isinstance(got, Predictions)
        assert [row.label for row in got] == ["a"]


def test_an_empty_batch_has_no_predictions() -> None:
    got = majority_vote([Predictions(np.empty((0, 2)), ["a", "b"])] * 2)
    assert len(got) == 0


def test_arrays_of_labels_are_votes_row_by_row() -> None:
    got = majority_vote([np.array([1, 2, 3]), np.array([1, 0, 3]), np.array([0, 0, 5])])
    assert got.tolist() == [1, 0, 3]
    assert majority_vote([np.array(["x", "y"]), np.array(["z", "y"])]).tolist() == ["x", "y"]


def test_an_empty_list_is_the_callers_mistake() -> None:
    with pytest.raises(InputError, match="at least one prediction, got none"):
        majority_vote([])


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([vote(a=1.0), [vote(a=1.0), vote(a=1.0)]], "as many predictions .* got 1, 2"),
        ([vote(a=1.0), "a"], "of the same kind, got predictions and str"),
        ([vote(a=1.0), np.array([0.1, 0.9])], "of the same kind, got predictions and ndarray"),
        (["a", 1], "one kind and shape, got numbers, text"),
        ([True, 1], "one kind and shape, got booleans, numbers"),
        (["a", None], "one kind and shape, got NoneType, text"),
        ([None, None], "expected predictions, arrays of scores or labels, got NoneType"),
        ([{"a": 1.0}, {"a": 1.0}], "expected predictions, arrays of scores or labels, got dict"),
        ([np.ones(2), np.ones(3)], r"scores of one shape, got \[2\], \[3\]"),
        ([np.ones((2, 2)), np.ones((3, 2))], r"scores of one shape, got \[2, 2\], \[3, 2\]"),
        ([np.array([1, 2]), np.array([1])], r"one kind and shape, got shape \[1\], shape \[2\]"),
        ([np.ones(0), np.ones(0)], "at least one class"),
    ],
)
def test_votes_that_are_no_votes_are_an_error(answers: list[Any], message: str) -> None:
    with pytest.raises(CompositionError, match=f"majority_vote expected .*{message}|{message}"):
        majority_vote(answers)


@pytest.mark.parametrize(
    "answers",
    [
        [vote(a=1.0), Prediction("a", np.nan, {"a": np.nan})],
        [np.array([0.1, 0.9]), np.array([np.nan, 0.9])],
        [np.array([0.1, 0.9]), np.array([[np.nan, 0.9]])],
        [1.0, np.nan],
    ],
)
def test_nan_is_an_error_that_names_the_member(answers: list[Any]) -> None:
    with pytest.raises(ModelRunError, match="majority_vote got NaN from member 2"):
        majority_vote(answers)
