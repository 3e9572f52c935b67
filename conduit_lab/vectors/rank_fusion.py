"""Rank fusion: combine several rankings of the same items."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

from conduit_lab.core.errors import VectorInputError

RANK_CONSTANT = 60  # from Cormack et al., whose results hardly depend on it

_Item = TypeVar("_Item", bound=Hashable)


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[_Item]],
    weights: Sequence[float] | None = None,
    k: float = RANK_CONSTANT,
) -> list[tuple[_Item, float]]:
    """Return the items of the `rankings` (each best first) with fused scores, best first.

    The score of an item is the sum of `weight / (k + rank)` over the rankings that contain it, with
    rank 1 for the best, so the rankings' own scores need not be comparable. Ties are ordered by the
    first ranking, then the next. An item repeated in a ranking counts at its better rank. `weights`
    default to 1. Raises `VectorInputError` for a negative weight or k, and if the number of weights
    is not the number of rankings. Cormack, Clarke and Büttcher 2009, "Reciprocal rank fusion
    outperforms Condorcet and individual rank learning methods".
    """
    weights = _checked(rankings, weights)
    if not 0 <= k < math.inf:
        raise VectorInputError(f"k of a rank fusion is a number of at least 0, got {k!r}")
    scores: dict[_Item, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, item in enumerate(dict.fromkeys(ranking), start=1):
            scores[item] = scores.get(item, 0.0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda item: -item[1])


def score_fusion(
    rankings: Sequence[Sequence[tuple[_Item, float]]], weights: Sequence[float] | None = None
) -> list[tuple[_Item, float]]:
    """Return the items of the `rankings` (items with scores, best first) with fused scores.

    The result is sorted best first. Each ranking's scores are scaled so that its best is 1 and its
    last 0, whichever direction is better, and summed with the `weights`, by default 1; an item
    missing from a ranking gets 0. Unlike with ranks, a wide margin keeps its effect. Ties are
    ordered by the first ranking, then the next. Raises `VectorInputError` for a negative weight,
    and if the number of weights is not the number of rankings. Bruch, Gai and Ingber 2023, "An
    analysis of fusion functions for hybrid retrieval".
    """
    weights = _checked(rankings, weights)
    fused: dict[_Item, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        shares = scale_scores([score for _, score in ranking])
        best = dict(zip((item for item, _ in reversed(ranking)), reversed(shares), strict=True))
        for item in dict.fromkeys(item for item, _ in ranking):  # repeated: the better rank
            fused[item] = fused.get(item, 0.0) + weight * best[item]
    return sorted(fused.items(), key=lambda item: -item[1])


def scale_scores(scores: Sequence[float]) -> list[float]:
    """Scale the scores of a ranking, best first, from 1 for its best to 0 for its last.

    Either direction may be better; if the best and the last are equal, all are 1.
    """
    if not scores:
        return []
    last, span = scores[-1], scores[0] - scores[-1]
    if math.isinf(span):
        return scale_scores([score / 2 for score in scores])
    return [(score - last) / span if span else 1.0 for score in scores]


def _checked(rankings: Sequence[object], weights: Sequence[float] | None) -> Sequence[float]:
    weights = [1.0] * len(rankings) if weights is None else weights
    if len(weights) != len(rankings) or not all(0 <= weight < math.inf for weight in weights):
        raise VectorInputError(
            f"{len(rankings)} rankings expect as many weights of at least 0, got {weights!r}"
        )
    return weights
