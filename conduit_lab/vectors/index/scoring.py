"""Scoring: the score of two vectors under each metric in float64, and the ranks that order rows.

A *score* is the number returned to users: a similarity, or for l2 and manhattan a distance. A
*rank* is the same on a scale where higher is better for every metric and which is linear in the dot
product, so a scan can bound it: cosine x·q / |x||q|, dot x·q / |q|, l2 x·q - |x|²/2 = (|q|² -
distance²) / 2, manhattan -distance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.arrays import BoolArray, Float64Array, IntArray

METRICS = ("cosine", "dot", "l2", "manhattan")
DISTANCES = ("l2", "manhattan")  # lower scores are better
_DIRECTIONAL = ("cosine", "dot")  # rank by a query's direction only
# Between these lengths no float32 product or square overflows or underflows, with room for a sum of
# millions. Rows and queries of other lengths are outliers: their ranks are computed in float64.
SAFE_LENGTHS = (1e-12, 1e12)
_BLOCK = 256  # rows per float64 copy, to stay in the CPU cache


def is_outlier(lengths: Array) -> BoolArray:
    """Return per length whether it is nonzero and outside `SAFE_LENGTHS`."""
    low, high = SAFE_LENGTHS
    outliers: BoolArray = (lengths > high) | ((lengths < low) & (lengths > 0))
    return outliers


class Queries:
    """Queries `[q, dimension]` in the forms that a search needs, computed once.

    `vectors` float32 as given, `vectors64` float64, `lengths` float64 `[q]`; `prepared` float32 is
    multiplied with rows: for cosine and dot scaled to length 1, or 0. `reach` is an upper bound on
    the lengths of `prepared`. `outliers` bool `[q]` marks queries whose ranks float32 cannot bound,
    or is None without any, as always if only a query's direction matters.
    """

    def __init__(self, vectors: FloatArray, metric: str) -> None:
        self.vectors, self.metric = vectors, metric
        self.vectors64 = wide = vectors.astype(np.float64)
        self.lengths: Float64Array = np.sqrt(np.square(wide).sum(axis=1))
        self.prepared = vectors
        self.reach: Float64Array | float = self.lengths
        self.outliers: BoolArray | None = None
        if metric in _DIRECTIONAL:
            divisors = np.where(self.lengths == 0, 1, self.lengths)
            self.prepared = (wide / divisors[:, np.newaxis]).astype(np.float32)
            self.reach = 1.0
        # A short query loses less in float32 than the slack of any row within SAFE_LENGTHS.
        elif (long := self.lengths > SAFE_LENGTHS[1]).any():
            self.outliers = long

    def __len__(self) -> int:
        return len(self.vectors)

    def each(self) -> Iterator[Queries]:
        """Yield every query separately."""
        for i in range(len(self)):
            yield self if len(self) == 1 else Queries(self.vectors[i : i + 1], self.metric)

    def scores(self, rows: FloatArray, query: IntArray) -> Float64Array:
        """Return the score of each row float32 `[m, dimension]` for its query, by number `[m]`.

        A float32 product may be rounded differently depending on a row's position and the machine's
        BLAS. Products of float32 are exact in float64, and NumPy sums a row in a fixed order, so
        equal vectors tie and scores are the same on every machine.
        """
        wide, asked, lengths = rows.astype(np.float64), self.vectors64, self.lengths
        if len(asked) > 1:
            asked, lengths = asked[query], lengths[query]
        if self.metric == "l2":
            return _lengths(np.subtract(wide, asked, out=wide))
        if self.metric == "manhattan":
            manhattan: Float64Array = np.abs(wide - asked).sum(axis=1)
            return manhattan
        dot: Float64Array = (wide * asked).sum(axis=1)
        if self.metric == "dot":
            return dot
        both = np.sqrt(np.square(wide).sum(axis=1)) * lengths
        both[both == 0] = 1  # a zero vector scores 0
        cosine: Float64Array = np.clip(dot / both, -1, 1)
        return cosine

    def ranks(self, scores: Float64Array, query: IntArray) -> Float64Array:
        """Return the ranks of scores for queries given by number."""
        if self.metric == "l2":
            half: Float64Array = (np.square(self.lengths[query]) - np.square(scores)) / 2
            return half
        if self.metric == "dot":
            lengths = self.lengths[query]
            dot: Float64Array = scores / np.where(lengths == 0, 1, lengths)
            return dot
        return -scores if self.metric == "manhattan" else scores


def score_rows(rows: FloatArray, query: FloatArray, metric: str) -> Float64Array:
    """Return the score of each row float32 `[m, dimension]` for one query `[dimension]`."""
    return Queries(query[np.newaxis], metric).scores(rows, np.zeros(len(rows), np.int64))


def row_lengths(rows: FloatArray) -> Float64Array:
    """Return the Euclidean length of each row in float64, in which no float32 square overflows."""
    result = np.empty(len(rows))
    for begin in range(0, len(rows), _BLOCK):
        result[begin : begin + _BLOCK] = _lengths(rows[begin : begin + _BLOCK].astype(np.float64))
    return result


def _lengths(wide: Float64Array) -> Float64Array:
    length: Float64Array = np.sqrt(np.square(wide).sum(axis=1))
    return length
