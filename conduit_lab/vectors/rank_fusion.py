"""Fusion: several rankings of the same things become one."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

from conduit_lab.core.errors import VectorInputError

RANK_CONSTANT = 60  # Cormack et al. measured 60 best; the figure is flat around it

Thing = TypeVar("Thing", bound=Hashable)


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Thing]],
    weights: Sequence[float] | None = None,
    k: float = RANK_CONSTANT,
) -> list[tuple[Thing, float]]:
    """Return what the `rankings` (each best first) hold, with fused scores, best first.

    The score of a thing is the sum of `weight / (k + rank)` over the rankings that hold it, rank 1
    for the best; so the rankings' own scores need not be comparable. Ties stay in the order of the
    first ranking, then of the next. A thing that a ranking holds twice counts at its better place.
    `weights` are by default all 1. Raises `VectorInputError` for a weight below 0, weights that are
    not one a ranking, and k below 0. Cormack, Clarke and Büttcher 2009, "Reciprocal rank fusion
    outperforms Condorcet and individual rank learning methods".
    """
    weights = _checked(rankings, weights)
    if not 0 <= k < math.inf:
        raise VectorInputError(f"k of a rank fusion is a number of at least 0, got {k!r}")
    scores: dict[Thing, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, thing in enumerate(dict.fromkeys(ranking), start=1):
            scores[thing] = scores.get(thing, 0.0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda item: -item[1])


def score_fusion(
    rankings: Sequence[Sequence[tuple[Thing, float]]], weights: Sequence[float] | None = None
) -> list[tuple[Thing, float]]:
    """Return what the `rankings` (things with scores, each best first) hold, with fused scores,
    best first.

    Each ranking's scores are stretched so that its best is 1 and its last 0, whichever direction is
    better, and summed with the `weights`, by default all 1; what a ranking lacks gets 0 from it. So
    what is better by far stays ahead, which ranks do not tell. Ties stay in the order of the first
    ranking, then of the next. Raises `VectorInputError` for a weight below 0, and for weights that
    are not one a ranking. Bruch, Gai and Ingber 2023, "An analysis of fusion functions for hybrid
    retrieval".
    """
    weights = _checked(rankings, weights)
    fused: dict[Thing, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        shares = stretched([score for _, score in ranking])
        best = dict(zip((thing for thing, _ in reversed(ranking)), reversed(shares), strict=True))
        for thing in dict.fromkeys(thing for thing, _ in ranking):  # twice: at its better place
            fused[thing] = fused.get(thing, 0.0) + weight * best[thing]
    return sorted(fused.items(), key=lambda item: -item[1])


def stretched(scores: Sequence[float]) -> list[float]:
    """Return the scores of a ranking, best first, linearly from 1 for its best to 0 for its last.

    The direction does not matter; where the best and the last are equal, all are 1.
    """
    if not scores:
        return []
    last, span = scores[-1], scores[0] - scores[-1]
    if math.isinf(span):
        return stretched([score / 2 for score in scores])
    return [(score - last) / span if span else 1.0 for score in scores]


def _checked(rankings: Sequence[object], weights: Sequence[float] | None) -> Sequence[float]:
    weights = [1.0] * len(rankings) if weights is None else weights
    if len(weights) != len(rankings) or not all(0 <= weight < math.inf for weight in weights):
        raise VectorInputError(
            f"{len(rankings)} rankings want as many weights of at least 0, got {weights!r}"
        )
    return weights
