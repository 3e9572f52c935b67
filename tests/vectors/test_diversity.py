"""MMR: the published rule, checked against a plain loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.diversity import mmr


def floats(values: Any) -> FloatArray:
    return np.array(values, np.float32)


def cosine(a: FloatArray, b: FloatArray) -> float:
    lengths = float(np.linalg.norm(a.astype(np.float64)) * np.linalg.norm(b.astype(np.float64)))
    return float(a.astype(np.float64) @ b) / lengths if lengths else 0.0


def worth(
    query: FloatArray, vectors: FloatArray, picked: list[int], i: int, balance: float
) -> float:
    """Return the marginal relevance of `i`, written as in the paper."""
    repeated = max((cosine(vectors[i], vectors[j]) for j in picked), default=0.0)
    return balance * cosine(query, vectors[i]) - (1 - balance) * repeated


def made(seed: int, count: int) -> FloatArray:
    """Return vectors, several of them similar, equal, opposite or zero."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 6))
    vectors = centres[rng.integers(0, 3, count)] + 0.3 * rng.normal(size=(count, 6))
    vectors[rng.random(count) < 0.1] = 0
    vectors[rng.random(count) < 0.1] = vectors[0]
    return floats(vectors * rng.choice([1, -1, 100], size=(count, 1)))


def test_a_repetition_comes_last() -> None:
    query = floats([1, 0])
    vectors = floats([[1, 0.1], [1, 0.1], [1, -0.5]])
    assert mmr(query, vectors, 3, balance=1.0) == [0, 1, 2]
    assert mmr(query, vectors, 3, balance=0.5) == [0, 2, 1]


def test_a_relevance_of_its_own_takes_the_place_of_the_query() -> None:
    vectors = floats([[1, 0.1], [1, 0.1], [1, -0.5]])
    assert mmr(None, vectors, 3, 1.0, [0.1, 0.3, 0.2]) == [1, 2, 0]
    assert mmr(None, vectors, 3, 0.5, [0.9, 1.0, 0.2]) == [1, 0, 2]
    assert mmr(None, vectors, 3, 0.1, [0.9, 1.0, 0.2]) == [1, 2, 0]


def test_the_length_of_a_vector_does_not_matter() -> None:
    query, vectors = floats([1, 2]), floats([[3, 4], [4, 3], [0, 1]])
    assert mmr(query * 1e20, vectors * floats([[1e-20], [1e20], [5]]), 3, 0.7) == mmr(
        query, vectors, 3, 0.7
    )


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 20),
    st.integers(0, 25),
    st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
)
def test_every_pick_is_the_best_that_is_left(
    seed: int, count: int, top_k: int, balance: float
) -> None:
    vectors = made(seed, count + 1)
    query, vectors = vectors[-1] + np.float32(0.1), vectors[:-1]
    picked = mmr(query, vectors, top_k, balance)
    assert len(picked) == len(set(picked)) == min(top_k, count)
    for step, best in enumerate(picked):
        before = picked[:step]
        worths = {
            i: worth(query, vectors, before, i, balance) for i in range(count) if i not in before
        }
        assert worths[best] == pytest.approx(max(worths.values()), abs=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_with_balance_1_the_order_is_that_of_likeness(seed: int) -> None:
    vectors = made(seed, 12)
    likeness = [cosine(vectors[0], vectors[i]) for i in mmr(vectors[0], vectors, 12, 1.0)]
    assert likeness == pytest.approx(sorted(likeness, reverse=True), abs=1e-9)


def test_with_balance_0_the_first_vector_is_picked_first() -> None:
    assert mmr(floats([0, 1]), floats([[1, 0], [0.9, 0.1], [-1, 0]]), 2, 0.0) == [0, 2]


@pytest.mark.parametrize("balance", [-0.1, 1.1, float("nan")])
def test_a_wrong_balance(balance: float) -> None:
    with pytest.raises(VectorInputError, match="the balance of mmr is a number from 0"):
        mmr(floats([1]), floats([[1]]), 1, balance)
