"""Ranking: how good an ordered answer is, in the field's three figures.

All take `gains`, a bool array `[n, k]`: whether the hit at each place of each answer is wanted and
was not there before; and `wanted` `[n]`: how many things should have been found, at least 1. All
return `[n]` from 0 to 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
DoubleArray = npt.NDArray[np.float64]


def recall(gains: BoolArray, wanted: IntArray) -> DoubleArray:
    """Return the share of what was wanted that was found: recall@k."""
    share: DoubleArray = gains.sum(axis=1) / wanted
    return share


def reciprocal_rank(gains: BoolArray) -> DoubleArray:
    """Return 1 / the rank of the first wanted hit, 0 without one; the mean of it is MRR@k."""
    inverse: DoubleArray = gains / np.arange(1, gains.shape[1] + 1)
    best: DoubleArray = inverse.max(axis=1, initial=0.0)
    return best


def ndcg(gains: BoolArray, wanted: IntArray) -> DoubleArray:
    """Return the discounted gain as a share of the best possible order's: nDCG@k with gains of 0
    and 1.

    Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques"; the discount
    is 1/log2(1 + rank).
    """
    discounts = 1 / np.log2(np.arange(2, gains.shape[1] + 2))
    best = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(wanted, gains.shape[1])]
    share: DoubleArray = (gains @ discounts) / best
    return share
