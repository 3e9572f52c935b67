"""Diversity: results that are similar to the query but not to each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray


def mmr(
    query: FloatArray | None,
    vectors: FloatArray,
    top_k: int,
    balance: float,
    relevance: Sequence[float] | None = None,
) -> list[int]:
    """Return at most `top_k` rows of `vectors` `[n, dimension]`, by maximal marginal relevance.

    Each pick maximizes `balance · relevance − (1 − balance) · maximum cosine to an earlier pick`: a
    `balance` of 1 orders by relevance only, 0 by difference only, starting with the first vector.
    `relevance` `[n]` defaults to the cosine to `query` `[dimension]`; it should be at most 1, to
    have the weight of a cosine. A search passes the scores that ordered its hits. Similarity is the
    cosine for every metric. Ties go to the earlier position; a zero vector is similar to no other.
    Raises `VectorInputError` for a balance outside 0..1. Carbonell and Goldstein 1998, "The use of
    MMR, diversity-based reranking for reordering documents and producing summaries".
    """
    if not 0 <= balance <= 1:
        raise VectorInputError(
            "the balance of mmr is a number from 0 (only variety) to 1 (only relevance), "
            f"got {balance!r}"
        )
    units = _normalised(np.asarray(vectors, np.float64))
    if relevance is None:
        relevance = (units @ _normalised(np.asarray(query, np.float64))).tolist()
    worth = balance * np.asarray(relevance, np.float64)
    nearest = np.zeros(len(units))  # maximum cosine to a pick; no picks yet
    left = np.ones(len(units), dtype=bool)
    picked: list[int] = []
    while len(picked) < min(top_k, len(units)):
        best = int(np.argmax(np.where(left, worth - (1 - balance) * nearest, -np.inf)))
        similarity = units @ units[best]
        nearest = np.maximum(nearest, similarity) if picked else similarity
        picked.append(best)
        left[best] = False
    return picked


def _normalised(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: npt.NDArray[np.float64] = vectors / np.where(lengths > 0, lengths, 1.0)
    return unit
