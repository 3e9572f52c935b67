"""Corners of votes and fallbacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import InputError
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.votes import majority_vote
from conduit_lab.models.prediction import Prediction


def vote(**probabilities: float) -> Prediction:
    label = max(probabilities, key=lambda key: probabilities[key])
    return Prediction(label, probabilities[label], probabilities)


def test_members_need_not_know_the_same_labels() -> None:
    got = majority_vote([vote(a=1.0), vote(b=1.0), vote(b=0.8, c=0.2)])
    assert got.label == "b"
    assert got.probabilities == pytest.approx({"a": 1 / 3, "b": 0.6, "c": 0.2 / 3})


def test_a_label_without_a_probability_loses_a_tie() -> None:
    assert majority_vote([Prediction("x", 0.9, {"a": 0.4}), vote(a=0.4)]).label == "a"


@pytest.mark.parametrize(
    "answers",
    [[np.eye(2), np.eye(2)], [[vote(a=1.0)], [vote(a=1.0)]], [vote(a=1.0), [vote(a=1.0)]]],
)
def test_answers_to_a_whole_batch_are_refused(answers: list[Any]) -> None:
    with pytest.raises(InputError, match="whole batch"):
        majority_vote(answers)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=9))
def test_most_frequent_label_wins_and_the_earliest_at_a_tie(labels: list[str]) -> None:
    most = max(labels.count(label) for label in labels)
    assert majority_vote(labels) == next(label for label in labels if labels.count(label) == most)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_no_label_has_more_votes_than_the_winner(scores: list[tuple[float, float]]) -> None:
    votes = [vote(a=a, b=b) for a, b in scores]
    got = majority_vote(votes)
    counts = {label: sum(v.label == label for v in votes) for label in "ab"}
    assert counts[got.label] == max(counts.values())
    assert got.score == got.probabilities[got.label]


def test_fallback_of_nothing_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        Fallback()
