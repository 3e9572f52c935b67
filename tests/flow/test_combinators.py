"""Stages made of stages."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import CompositionError, InputError
from conduit_lab.core.stage import Stage
from conduit_lab.core.trace import recorder
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.rag import Rag
from conduit_lab.flow.route import Route
from conduit_lab.flow.sequential import Sequential
from conduit_lab.flow.votes import majority_vote
from conduit_lab.models.prediction import Prediction
from conduit_lab.vectors.store import VectorStore


def plus(value: int) -> int:
    return value + 1


def test_a_sequence_hands_each_what_the_one_before_gave() -> None:
    assert Sequential(plus, str, lambda text: text * 2)(1) == "22"


def test_parallel_gives_each_result_by_name() -> None:
    assert Parallel({"a": plus, "b": str})(1) == {"a": 2, "b": "1"}


def test_an_ensemble_combines_what_its_members_gave() -> None:
    assert Ensemble([plus, abs], sum)(-3) == 1
    with pytest.raises(CompositionError, match="'empty' expected at least one model, got none"):
        Ensemble([], sum, name="empty")


@pytest.mark.parametrize(
    "stage",
    [
        Sequential(plus, name="mine"),
        Parallel({"a": plus}, name="mine"),
        Ensemble([plus], sum, name="mine"),
        Fallback(plus, name="mine"),
        Route(lambda value: "a", {"a": plus}, name="mine"),
    ],
    ids=lambda stage: type(stage).__name__,
)
def test_a_combinator_is_a_span_with_its_own_name(stage: Stage) -> None:
    with recorder.record("call") as recorded:
        stage(1)
    assert [span.name for span in recorded][:3] == ["call", "mine", "plus"]


def test_stages_nest_and_batch() -> None:
    assert Sequential(Parallel({"a": plus}), lambda found: found["a"]).batch([1, 2]) == [2, 3]


def prediction(**probabilities: float) -> Prediction:
    return Prediction.from_array(np.array(list(probabilities.values())), list(probabilities))


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        ([prediction(a=0.6, b=0.4), prediction(a=0.6, b=0.4), prediction(a=0.0, b=1.0)], "a"),
        ([prediction(a=0.6, b=0.4), prediction(a=0.1, b=0.9)], "b"),
        (["x", "y", "y"], "y"),
        ([2, 1, 1], 1),
        ([np.array([0.1, 0.9]), np.array([0.2, 0.8]), np.array([0.9, 0.1])], 1),
    ],
)
def test_the_majority_wins_and_a_tie_goes_to_the_surer(votes: SequenceOf[Any], winner: Any) -> None:
    got = majority_vote(votes)
    assert (got.label if isinstance(got, Prediction) else got) == winner


def test_a_vote_keeps_the_mean_confidence() -> None:
    got = majority_vote([prediction(a=0.6, b=0.4), prediction(a=0.8, b=0.2)])
    assert got.score == pytest.approx(0.7)
    assert got.probabilities == pytest.approx({"a": 0.7, "b": 0.3})


def test_nobody_cannot_vote() -> None:
    with pytest.raises(InputError, match="at least one"):
        majority_vote([])


class Echo:
    """A generator that answers with its first passage."""

    def generate(self, *, query: str, context: SequenceOf[str]) -> str:
        return f"{query} {context[0]}"


class Letters:
    """An embedder that knows two letters."""

    dimension = 2

    def encode(self, texts: str | SequenceOf[str]) -> Any:
        if isinstance(texts, str):
            return np.array([texts.count("a"), texts.count("b")], np.float32)
        return np.stack([self.encode(text) for text in texts])


def test_rag_answers_from_the_passages_that_it_names() -> None:
    with VectorStore(embedder=Letters()) as store:
        store.add("one", metadata={"section": "s"}, content="aaa")
        store.add("two", content="bbb")
        got = Rag(store, Echo(), top_k=1)("a?")
    assert got["response"] == "a? aaa"
    assert [source["id"] for source in got["sources"]] == ["one"]
