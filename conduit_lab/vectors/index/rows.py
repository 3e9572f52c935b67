"""Rows: the float32 vectors of an index, and bounds on their ranks from one float32 product."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import cast

import numpy as np

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.arrays import BoolArray, Float64Array, IntArray
from conduit_lab.vectors.index.blocks import Blocks, block_slices
from conduit_lab.vectors.index.bound import RowSelection, UpperBound
from conduit_lab.vectors.index.scoring import SAFE_LENGTHS, Queries, is_outlier, row_lengths

# A row this many times as long as all but one in `_RARE` is an outlier: the slack for its length
# would admit every other row.
_LONG, _RARE = 32, 32
_COPIED_ROWS = 256  # per copy, to stay in the CPU cache
_MANHATTAN_ROWS = 256  # per difference, to stay in the CPU cache


class VectorRows:
    """Vectors float32 `[n, dimension]`, unchanged, and the length of each.

    `vectors` and `lengths` are those of a snapshot, used without copying. `outliers` are the
    ascending numbers of the rows that a scan skips, because float32 cannot bound their ranks, or
    only at the expense of all other rows: their length is outside `SAFE_LENGTHS` or, for all
    metrics but cosine, far above the usual. Zero vectors are not outliers. `longest` is the maximum
    length that other rows have had.
    """

    def __init__(
        self,
        dimension: int,
        metric: str,
        vectors: FloatArray | None = None,
        lengths: FloatArray | None = None,
    ) -> None:
        self.metric, self.dimension = metric, dimension
        self.vectors = Blocks((dimension,), np.float32, vectors)
        if vectors is not None and (lengths is None or len(lengths) != len(vectors)):
            lengths = self._measure(vectors)
        self.lengths = Blocks((), np.float32, lengths)
        self.outliers: IntArray = np.empty(0, np.int64)
        self.longest = 0.0
        self._limit = np.inf  # on usual lengths
        self._judged = self._rare = 0  # number of rows and outliers when the limit was set
        self._judge()

    def __len__(self) -> int:
        return self.vectors.count

    @property
    def nbytes(self) -> int:
        """Size in memory in bytes."""
        return self.vectors.nbytes + self.lengths.nbytes

    def append(self, vectors: FloatArray) -> None:
        """Add copies of `vectors` `[m, dimension]`."""
        lengths = self._measure(vectors)
        self.lengths.reserve(len(lengths))  # so that either both or none are added
        first = len(self)
        self.vectors.append(vectors)
        self.lengths.append(lengths)
        self._admit(np.arange(first, len(self)), lengths)

    def replace(self, at: IntArray, vectors: FloatArray) -> None:
        """Overwrite the rows `at`."""
        lengths = self._measure(vectors)
        self.vectors.replace(at, vectors)
        self.lengths.replace(at, lengths)
        self._admit(at, lengths)

    def keep(self, live: BoolArray) -> None:
        """Drop every row that is not `live`."""
        self.vectors.keep(live)
        self.lengths.keep(live)
        self._judge()

    def sample(self, end: int, count: int) -> IntArray:
        """Return at most `count` evenly spaced rows below `end` that are not outliers."""
        rows = np.delete(np.arange(end), self.outliers[self.outliers < end])
        places = np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(np.int64)
        return rows[np.unique(places)]

    def bound(self, queries: Queries) -> RowsBound:
        """Return the bound on the ranks of rows for some queries."""
        if queries.outliers is not None:
            return Float64Bound(self, queries)
        if self.metric == "manhattan":
            return ManhattanBound(self, queries)
        return DotBound(self, queries)

    def scores(self, at: IntArray, queries: Queries, query: IntArray) -> Float64Array:
        """Return the score of each row `at` for its query, given by number."""
        if len(at) <= _COPIED_ROWS:
            return queries.scores(self.vectors.take(at), query)
        each = []
        for begin in range(0, len(at), _COPIED_ROWS):
            here = slice(begin, begin + _COPIED_ROWS)
            each.append(queries.scores(self.vectors.take(at[here]), query[here]))
        return np.concatenate(each)

    def usual(self, chosen: slice, values: FloatArray) -> FloatArray:
        """Return the `values` of chosen rows that are not outliers."""
        begin, end = np.searchsorted(self.outliers, (chosen.start, chosen.stop)).tolist()
        return (
            values if begin == end else np.delete(values, self.outliers[begin:end] - chosen.start)
        )

    def length(self, chosen: RowSelection) -> FloatArray:
        """Return the lengths of chosen rows; rows outside `SAFE_LENGTHS` count as zero vectors.

        A zero vector has length 1 under cosine, so division is always safe.
        """
        every = self.lengths
        lengths = every.view(chosen) if isinstance(chosen, slice) else every.take(chosen)
        if len(self.outliers):
            zero = np.float32(self.metric == "cosine")
            lengths = np.where(is_outlier(lengths), zero, lengths)
        return cast(FloatArray, lengths)

    def prepared(self, chosen: RowSelection) -> FloatArray:
        """Return chosen rows in the form to encode.

        Under cosine they have length 1; rows outside `SAFE_LENGTHS` are zero vectors.
        """
        rows = self.get(chosen)
        if len(self.outliers):
            every = self.lengths
            lengths = every.view(chosen) if isinstance(chosen, slice) else every.take(chosen)
            rows = np.where(is_outlier(lengths)[:, np.newaxis], np.float32(0), rows)
        return rows / self.length(chosen)[:, np.newaxis] if self.metric == "cosine" else rows

    def get(self, chosen: RowSelection) -> FloatArray:
        """Return a view of the rows of a slice, or a copy of the rows with these numbers."""
        vectors = self.vectors
        rows = vectors.view(chosen) if isinstance(chosen, slice) else vectors.take(chosen)
        return cast(FloatArray, rows)

    def _measure(self, vectors: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):  # inf marks an outlier and is never used
            lengths = row_lengths(vectors).astype(np.float32)
        if self.metric == "cosine":
            lengths[lengths == 0] = 1
        return lengths

    def _admit(self, at: IntArray, lengths: FloatArray) -> None:
        """Update outliers and the maximum length with the `lengths` of the rows `at`."""
        longest, shortest = float(lengths.max(initial=0.0)), lengths.min(initial=np.inf)
        low, high = SAFE_LENGTHS
        if len(self.outliers) or longest > min(self._limit, high) or shortest < low:
            outliers = is_outlier(lengths) | (lengths > self._limit)
            self.outliers = np.union1d(np.setdiff1d(self.outliers, at), at[outliers])
            longest = float(lengths[~outliers].max(initial=0.0))
        self.longest = max(self.longest, longest)
        many = len(self.outliers) > self._rare + len(self) // _RARE
        if many or len(self) > 2 * self._judged:
            self._judge()

    def _judge(self) -> None:
        """Recompute the outliers."""
        lengths = self.lengths.take(np.arange(len(self)))
        outliers = is_outlier(lengths)
        if self.metric != "cosine" and not outliers.all():
            usual = np.sort(lengths[~outliers])
            self._limit = _LONG * float(usual[len(usual) - 1 - len(usual) // _RARE]) or np.inf
            outliers |= lengths > self._limit
        self.outliers = np.flatnonzero(outliers)
        self.longest = float(lengths[~outliers].max(initial=0.0))
        self._judged, self._rare = len(self), len(self.outliers)


class RowsBound(UpperBound):
    """A bound within `slack` of the rank itself, above or below. Not for outliers."""

    rows: VectorRows
    queries: Queries

    def looseness(self, chosen: RowSelection) -> Array:
        """Return `slack`."""
        return self.slack

    def ranks(self, query: IntArray, row: IntArray) -> Array:
        """Return the rank of each row for its query, by number; in float64 for outliers."""
        ranks = self._ranks(query, row)
        outliers = self.rows.outliers
        if len(outliers) and len(at := np.flatnonzero(np.isin(row, outliers))):
            ranks = ranks.astype(np.float64)
            ranks[at] = _ranks64(self.rows, self.queries, query[at], row[at])
        return ranks

    @abstractmethod
    def _ranks(self, query: IntArray, row: IntArray) -> Array:
        """Return the ranks of rows that are not outliers."""


class DotBound(RowsBound):
    """Ranks from one float32 product: cosine, dot, l2.

    A float32 dot product is off by at most about dimension x 2^-24 x |x||q| (Higham, Accuracy and
    Stability of Numerical Algorithms, 3.5); 16 more allow for the rounding of the lengths.
    """

    def __init__(self, rows: VectorRows, queries: Queries) -> None:
        self.rows, self.queries = rows, queries
        longest = 1.0 if rows.metric == "cosine" else rows.longest
        reach = longest * (queries.reach + (longest if rows.metric == "l2" else 0.0))
        error = (rows.dimension + 16) * 2.0**-24 * reach
        self.slack = np.full(len(queries.vectors), error, np.float32)

    def values(self, chosen: RowSelection) -> FloatArray:
        """Return the ranks float32 `[q, m]`, within `slack`."""
        rows, asked = self.rows, self.queries.prepared
        vectors = rows.vectors.view(chosen) if isinstance(chosen, slice) else rows.get(chosen)
        # vecdot for one query: unlike @ it never waits for BLAS threads, which costs 10 ms when the
        # cores are busy.
        one = len(asked) == 1
        ranks = np.vecdot(vectors, asked[0])[np.newaxis] if one else asked @ vectors.T
        if rows.metric == "cosine":
            ranks /= rows.length(chosen)
        elif rows.metric == "l2":
            ranks -= np.square(rows.length(chosen)) / 2
        return cast(FloatArray, ranks)

    def _ranks(self, query: IntArray, row: IntArray) -> FloatArray:
        return _in_blocks(self._pair_ranks, query, row)

    def _pair_ranks(self, query: IntArray, row: IntArray) -> FloatArray:
        asked = self.queries.prepared
        asked = asked[0] if len(asked) == 1 else asked[query]
        ranks: FloatArray = np.vecdot(self.rows.get(row), asked)
        if self.rows.metric == "cosine":
            ranks /= self.rows.length(row)
        elif self.rows.metric == "l2":
            ranks -= np.square(self.rows.length(row)) / 2
        return ranks


class ManhattanBound(RowsBound):
    """Ranks from sums of float32 differences."""

    def __init__(self, rows: VectorRows, queries: Queries) -> None:
        self.rows, self.queries = rows, queries
        reach = np.sqrt(rows.dimension) * (rows.longest + queries.lengths)
        self.slack = ((rows.dimension + 16) * 2.0**-24 * reach).astype(np.float32)

    def values(self, chosen: RowSelection) -> FloatArray:
        """Return the ranks float32 `[q, m]`, within `slack`."""
        rows, asked = self.rows.get(chosen), self.queries.vectors
        ranks = np.empty((len(asked), len(rows)), np.float32)
        room = np.empty((_MANHATTAN_ROWS, rows.shape[1]), np.float32)
        for here in block_slices(0, len(rows), _MANHATTAN_ROWS):
            for i, query in enumerate(asked):
                off = np.subtract(rows[here], query, out=room[: here.stop - here.start])
                ranks[i, here] = np.abs(off, out=off).sum(axis=1)
        return np.negative(ranks, out=ranks)

    def _ranks(self, query: IntArray, row: IntArray) -> FloatArray:
        return _in_blocks(self._pair_ranks, query, row)

    def _pair_ranks(self, query: IntArray, row: IntArray) -> FloatArray:
        off = self.rows.get(row) - self.queries.vectors[query]
        return cast(FloatArray, -np.abs(off).sum(axis=1))


class Float64Bound(RowsBound):
    """Ranks in float64, for rows and queries that are outliers."""

    def __init__(self, rows: VectorRows, queries: Queries) -> None:
        self.rows, self.queries = rows, queries
        self.slack = np.zeros(len(queries))

    def values(self, chosen: RowSelection) -> Array:
        """Return the ranks float64 `[q, m]`."""
        at = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
        each = [self._ranks(np.full(len(at), query), at) for query in range(len(self.queries))]
        return np.stack(each)

    def _ranks(self, query: IntArray, row: IntArray) -> Array:
        return _ranks64(self.rows, self.queries, query, row)


def _ranks64(rows: VectorRows, queries: Queries, query: IntArray, row: IntArray) -> Float64Array:
    return queries.ranks(rows.scores(row, queries, query), query)


def _in_blocks(
    ranks: Callable[[IntArray, IntArray], FloatArray], query: IntArray, row: IntArray
) -> FloatArray:
    """Call `ranks` with few pairs at a time, so their copies stay in the CPU cache."""
    if len(row) <= _COPIED_ROWS:
        return ranks(query, row)
    each = [slice(begin, begin + _COPIED_ROWS) for begin in range(0, len(row), _COPIED_ROWS)]
    return np.concatenate([ranks(query[here], row[here]) for here in each])
