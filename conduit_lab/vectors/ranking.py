"""Ranking metrics: recall@k, reciprocal rank and nDCG@k of ordered answers.

All take `gains`, a bool array `[n, k]`: whether the hit at each rank of each answer is relevant and
not a repetition; and `relevant` `[n]`: the number of relevant items, at least 1. All return `[n]`
in [0, 1].
"""

from __future__ import annotations

import numpy as np

from conduit_lab.vectors.arrays import BoolArray, Float64Array, IntArray


def recall(gains: BoolArray, relevant: IntArray) -> Float64Array:
    """Return the share of relevant items that were found: recall@k."""
    share: Float64Array = gains.sum(axis=1) / relevant
    return share


def reciprocal_rank(gains: BoolArray) -> Float64Array:
    """Return 1 / the rank of the first relevant hit, or 0 without one; its mean is MRR@k."""
    inverse: Float64Array = gains / np.arange(1, gains.shape[1] + 1)
    best: Float64Array = inverse.max(axis=1, initial=0.0)
    return best


def ndcg(gains: BoolArray, relevant: IntArray) -> Float64Array:
    """Return the discounted gain relative to the ideal order: nDCG@k with binary gains.

    Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques"; the discount
    is 1/log2(1 + rank).
    """
    discounts = 1 / np.log2(np.arange(2, gains.shape[1] + 2))
    best = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(relevant, gains.shape[1])]
    share: Float64Array = (gains @ discounts) / best
    return share
