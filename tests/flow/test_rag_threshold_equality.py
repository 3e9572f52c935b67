"""A passage whose score equals the threshold is answered from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from conduit_lab.core.spec import FloatArray
from conduit_lab.flow.rag import UNKNOWN_ANSWER, Rag
from conduit_lab.vectors.store import VectorStore


class Letters:
    """Counts two letters, so that every score is a small whole number or an exact cosine."""

    dimension = 2

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        if isinstance(texts, str):
            return np.array([texts.count("a"), texts.count("b")], np.float32)
        return np.stack([self.encode(text) for text in texts])


class Echo:
    """Answers with its passages."""

    def generate(self, *, query: str, context: Sequence[str]) -> str:
        return " ".join(context)


@pytest.mark.parametrize(
    ("metric", "best", "worse"),
    [
        ("cosine", 1.0, 1.0 + 1e-6),
        ("dot", 6.0, 6.0 + 1e-6),
        ("l2", 1.0, 1.0 - 1e-6),
        ("manhattan", 1.0, 1.0 - 1e-6),
    ],
)
def test_a_score_equal_to_the_threshold_answers(metric: str, best: float, worse: float) -> None:
    with VectorStore(metric=metric, embedder=Letters()) as store:
        store.add("one", content="aa")
        hits = store.search("aaa", top_k=1)
        assert hits.best == best
        equal, missed = (
            Rag(store, Echo(), mode="dense", min_score=score)("aaa") for score in (best, worse)
        )
    assert equal["response"] == "aa"
    assert (missed["response"], missed["sources"]) == (UNKNOWN_ANSWER, [])
