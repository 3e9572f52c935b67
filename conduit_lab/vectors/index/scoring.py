"""Scoring: what each metric says of two vectors, in float64, and the one order in which rows are
best first.

A *score* is what a person gets: a similarity, or for l2 and manhattan a distance. A *rank* is the
same on a scale where higher is better for every metric, linear in the dot product, so that a scan
can bound it: cosine x·q / |x||q|, dot x·q / |q|, l2 x·q - |x|²/2 = (|q|² - distance²) / 2,
manhattan -distance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array, FloatArray

Float64Array = npt.NDArray[np.float64]
METRICS = ("cosine", "dot", "l2", "manhattan")
_DIRECTIONS = ("cosine", "dot")  # metrics that rank by the direction of a query alone
# Lengths between which no float32 product or square over- or underflows, with room for a sum of
# millions. Rows and queries of other lengths are odd: their ranks are computed in float64.
TAME = (1e-12, 1e12)
_BLOCK = 256  # rows of a float64 copy: it stays in the processor's cache


def is_distance(metric: str) -> bool:
    """Tell whether a lower score is better."""
    return metric in ("l2", "manhattan")


def odd(lengths: Array) -> npt.NDArray[np.bool_]:
    """Report for each length whether it is outside of `TAME`; 0 is not."""
    result: npt.NDArray[np.bool_] = (lengths > TAME[1]) | ((lengths < TAME[0]) & (lengths > 0))
    return result


class Queries:
    """Queries `[q, dimension]` in the forms that a search needs, made once.

    `vectors` float32 as given, `wide` float64, `lengths` float64 `[q]`; `near` float32 is what a
    scan multiplies with: for cosine and dot each at length 1, or 0. `odd` bool `[q]` names those
    whose ranks float32 cannot bound, or is None where it can: always where only a query's direction
    matters.
    """

    def __init__(self, vectors: FloatArray, metric: str) -> None:
        self.vectors, self.metric = vectors, metric
        self.wide = vectors.astype(np.float64)
        self.lengths = _length(self.wide)
        self.near = vectors
        self.odd: npt.NDArray[np.bool_] | None = None
        # What a short query loses in float32 is less than the slack for any row between TAME.
        if metric not in _DIRECTIONS and (long := self.lengths > TAME[1]).any():
            self.odd = long
        if metric in _DIRECTIONS:
            self.near = (
                self.wide / np.where(self.lengths == 0, 1, self.lengths)[:, np.newaxis]
            ).astype(np.float32)

    def __len__(self) -> int:
        return len(self.vectors)

    def each(self) -> Iterator[Queries]:
        """Yield every query by itself."""
        for i in range(len(self)):
            yield self if len(self) == 1 else Queries(self.vectors[i : i + 1], self.metric)

    @property
    def reach(self) -> Float64Array | float:
        """The lengths of `near`, or a little more."""
        return 1.0 if self.metric in _DIRECTIONS else self.lengths

    def scores(self, rows: FloatArray, query: npt.NDArray[np.int64]) -> Float64Array:
        """Return the score of each row float32 `[m, dimension]` for its own query, given by number
        `[m]`.

        A float32 product may round by where a row lies and by the machine's BLAS. Products of
        float32 are exact in float64, and NumPy sums a row in one fixed order, so equal vectors tie
        and every machine gives the same score.
        """
        wide = rows.astype(np.float64)
        asked, lengths = (
            (self.wide, self.lengths) if len(self) == 1 else (self.wide[query], self.lengths[query])
        )
        if self.metric == "l2":
            return _length(np.subtract(wide, asked, out=wide))
        if self.metric == "manhattan":
            manhattan: Float64Array = np.abs(wide - asked).sum(axis=1)
            return manhattan
        dot: Float64Array = (wide * asked).sum(axis=1)
        if self.metric == "dot":
            return dot
        both = _length(wide) * lengths
        both[both == 0] = 1  # a zero vector scores 0
        return np.clip(dot / both, -1, 1)

    def ranks(self, scores: Float64Array, query: npt.NDArray[np.int64]) -> Float64Array:
        """Return the ranks of scores for the queries of these numbers."""
        if self.metric == "l2":
            half: Float64Array = (np.square(self.lengths[query]) - np.square(scores)) / 2
            return half
        if self.metric == "dot":
            lengths = self.lengths[query]
            dot: Float64Array = scores / np.where(lengths == 0, 1, lengths)
            return dot
        return -scores if self.metric == "manhattan" else scores


def scores(rows: FloatArray, query: FloatArray, metric: str) -> Float64Array:
    """Return the score of each row float32 `[m, dimension]` for one query `[dimension]`."""
    return Queries(query[np.newaxis], metric).scores(rows, np.zeros(len(rows), np.int64))


def lengths(rows: FloatArray) -> Float64Array:
    """Return the Euclidean length of each row, in float64, where no square of a float32 overflows."""
    result = np.empty(len(rows))
    for begin in range(0, len(rows), _BLOCK):
        result[begin : begin + _BLOCK] = _length(rows[begin : begin + _BLOCK].astype(np.float64))
    return result


def _length(wide: Float64Array) -> Float64Array:
    length: Float64Array = np.sqrt(np.square(wide).sum(axis=1))
    return length
