"""Ranking: how good an ordered answer is, in the field's three figures.

All take `gains`, a bool array `[n, k]`: whether the hit at each place of each answer is wanted and
was not there before; and `wanted` `[n]`: how many things should have been found, at least 1. All
return `[n]` from 0 to 1.
"""

from __future__ import annotations

import numpy as np

from conduit_lab.vectors.arrays import BoolArray, Float64Array, IntArray


def recall(gains: BoolArray, wanted: IntArray) -> Float64Array:
    """Return the share of what was wanted that was found: recall@k."""
    share: Float64Array = gains.sum(axis=1) / wanted
    return share


def reciprocal_rank(gains: BoolArray) -> Float64Array:
    """Return 1 / the rank of the first wanted hit, 0 without one; the mean of it is MRR@k."""
    inverse: Float64Array = gains / np.arange(1, gains.shape[1] + 1)
    best: Float64Array = inverse.max(axis=1, initial=0.0)
    return best


def ndcg(gains: BoolArray, wanted: IntArray) -> Float64Array:
    """Return the discounted gain as a share of the best possible order's: nDCG@k with gains of 0
    and 1.

    Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques"; the discount
    is 1/log2(1 + rank).
    """
    discounts = 1 / np.log2(np.arange(2, gains.shape[1] + 2))
    best = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(wanted, gains.shape[1])]
    share: Float64Array = (gains @ discounts) / best
    return share
