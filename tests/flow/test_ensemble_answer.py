"""The answers of an ensemble: members, agreement, JSON and how they show themselves."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.flow.averages import average, maximum
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.ensemble_answer import EnsembleArray, EnsemblePrediction, EnsemblePredictions
from conduit_lab.flow.sequential import Sequential
from conduit_lab.flow.votes import majority_vote
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.serving import codec
from tests.runtime import graphs


def vote(**probabilities: float) -> Prediction:
    return Prediction.from_array(np.array(list(probabilities.values())), list(probabilities))


def answer(members: list[Any], combine: Any = average) -> Any:
    """Return the answer of an ensemble whose members give these."""
    return Ensemble([lambda value, own=own: own for own in members], combine)(0)


def test_a_prediction_has_the_json_of_any_prediction() -> None:
    votes = [vote(a=0.75, b=0.25), vote(a=0.5, b=0.5)]
    got = answer(votes, majority_vote)
    assert type(got) is EnsemblePrediction
    assert got == majority_vote(votes)
    assert codec.dumps(got) == codec.dumps(majority_vote(votes))
    assert codec.loads(codec.dumps(got)).keys() == {"label", "score", "probabilities"}


def test_the_users_own_score_stays() -> None:
    got = answer([vote(a=1.0)], lambda votes: Prediction("x", 0.9, {"a": 0.4}))
    assert got == {"label": "x", "score": 0.9, "probabilities": {"a": 0.4}}
    assert got.agreement == 0.0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(any), min_size=1, max_size=6),
    st.sampled_from([average, maximum, majority_vote]),
)
def test_agreement_is_the_share_of_members_with_the_label(
    scores: list[list[float]], combine: Any
) -> None:
    votes = [Prediction.from_array(np.array(row), "abc") for row in scores]
    got = answer(votes, combine)
    assert 0 <= got.agreement <= 1
    assert got.agreement == sum(v.label == got.label for v in votes) / len(votes)
    assert list(got.members.values()) == votes


def test_labels_agree_with_a_prediction_and_class_numbers_do_not() -> None:
    best = vote(a=1.0)
    assert answer(["a", "b"], lambda votes: best).agreement == 0.5
    assert answer([0, 1], lambda votes: best).agreement is None
    assert answer([np.ones(2), {"x": 1}], lambda votes: best).agreement is None
    assert answer([[[1], [1, 2]]], lambda votes: best).agreement is None


def test_each_prediction_of_a_batch_has_its_own_members() -> None:
    one = Predictions(np.array([[0.75, 0.25], [0.0, 1.0]]), ["a", "b"])
    two = [vote(a=0.0, b=1.0), vote(a=0.0, b=1.0)]
    got = answer([one, two])
    assert type(got) is EnsemblePredictions
    assert got.agreement is not None
    assert got.agreement.tolist() == [0.5, 1.0]
    assert [got[0].agreement, got[1].agreement] == [0.5, 1.0]
    assert got[1].members == {"<lambda>": one[1], "<lambda> (2)": two[1]}
    assert type(got[1:]) is EnsemblePredictions
    assert got[1:].agreement.tolist() == [1.0]
    assert codec.dumps(got) == codec.dumps(average([one, two]))


def test_an_array_has_members_and_agreement() -> None:
    scores = [np.array([0.25, 0.75], np.float32), np.array([0.5, 0.0], np.float32)]
    got = answer(scores)
    assert type(got) is EnsembleArray
    assert got.tolist() == [0.375, 0.375]
    assert got.agreement == 0.5
    assert list(map(id, got.members.values())) == list(map(id, scores))
    assert codec.dumps(got) == codec.dumps(average(scores))
    assert codec.dumps(got * np.float32(0.1)) == codec.dumps(average(scores) * np.float32(0.1))


def test_an_array_of_float32_has_the_json_of_one() -> None:
    tenth = np.array([0.1], np.float32)
    assert codec.dumps({"x": answer([tenth])}) == b'{"x":[0.1]}'
    assert codec.dumps(answer([np.ones((2, 3), np.float32)]).T) == codec.dumps(np.ones((3, 2)))


def test_the_agreement_of_a_batch_of_arrays_is_per_row() -> None:
    scores = [np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([[0.0, 1.0], [0.25, 0.5]])]
    assert answer(scores).agreement.tolist() == [1.0, 0.5]
    got = answer(scores, majority_vote)
    assert got.tolist() == [1, 0]
    assert got.agreement.tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("members", "combine"),
    [
        ([np.ones(1), np.ones(1)], average),
        ([vote(a=1.0)], lambda votes: np.ones(2)),
        ([np.ones(3)], lambda votes: np.ones(2)),
        (["a", "b"], lambda votes: np.array(2.0)),
    ],
)
def test_an_array_of_other_numbers_has_no_agreement(members: list[Any], combine: Any) -> None:
    assert answer(members, combine).agreement is None


def test_arithmetic_gives_plain_arrays_and_a_slice_has_no_members() -> None:
    got = answer([np.array([0.25, 0.75])] * 2)
    assert type(got * 2) is np.ndarray
    assert type(got.sum()) is np.float64
    part = got[1:]
    assert (part.tolist(), part.members, part.left_out, part.agreement) == ([0.75], {}, {}, None)
    assert got.copy().members == {}
    assert isinstance(got, np.ndarray)


def test_an_array_goes_on_to_the_next_stage(tmp_path: Path) -> None:
    model = Model(graphs.linear(tmp_path / "a.onnx", np.eye(2, dtype=np.float32) * 3)).open()
    ensemble = Ensemble([lambda v: v, lambda v: v * 3], average)
    assert Sequential(ensemble, model)(np.ones(2, np.float32)).tolist() == [6.0, 6.0]


def test_an_answer_is_copied_and_pickled() -> None:
    got = answer([vote(a=0.75, b=0.25)], majority_vote)
    for twin in (copy.deepcopy(got), pickle.loads(pickle.dumps(got))):
        assert (twin, twin.members, twin.agreement) == (got, got.members, 1.0)
    array = answer([np.ones(2)])
    assert pickle.loads(pickle.dumps(array)).tolist() == [1.0, 1.0]


def test_an_answer_shows_its_members() -> None:
    def strong(value: Any) -> Prediction:
        return vote(kettle=0.75, mug=0.25)

    def number(value: Any) -> float:
        return 3.0

    def broken(value: Any) -> Any:
        raise RuntimeError("<no power>")

    got = Ensemble([strong, strong, broken], majority_vote, min_members=2)(1)
    assert repr(got) == "EnsemblePrediction('kettle', 0.750, agreement=1.00)"
    text = got._view().plain()
    assert "2 of 2 members agree" in text
    assert "strong (2)" in text
    assert "left out: RuntimeError: <no power>" in text
    assert "&lt;no power&gt;" in got._repr_mimebundle_()["text/html"]
    mixed = Ensemble([strong, number], lambda answers: answers[0])(1)
    assert repr(mixed) == "EnsemblePrediction('kettle', 0.750)"
    assert "3.0" in mixed._view().plain()
