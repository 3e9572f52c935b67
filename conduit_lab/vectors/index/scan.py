"""Scan: the rows that a search visits in parts, and the best of them."""

from __future__ import annotations

import numpy as np

from conduit_lab.vectors.arrays import BoolArray, IntArray
from conduit_lab.vectors.index.blocks import BLOCK_ROWS, block_slices
from conduit_lab.vectors.index.bound import RowSelection, UpperBound
from conduit_lab.vectors.index.candidates import Candidates, RankedRows, TopRows, score_pairs
from conduit_lab.vectors.index.rows import RowsBound, VectorRows
from conduit_lab.vectors.index.scoring import Queries

ScanParts = list[tuple[UpperBound, RowSelection]]

_CHUNK_ROWS = 4_096  # per product with many queries, so its results stay in the CPU cache
_GATHERED_ROWS = 2_048  # per copy
_GATHER = 4  # a mask that keeps at most one row in this many: copy those rows out
_NO_ROWS: IntArray = np.empty(0, np.int64)


class RowMask:
    """The rows of `n` that a search may return: all of them, or those selected by a mask.

    `outliers` are the rows among them that scans cannot bound and that are scored individually;
    `mask` selects the others, and is None if these are all rows. `words` describes the selection in
    a plan.
    """

    def __init__(self, mask: BoolArray | None, n: int, outliers: IntArray = _NO_ROWS) -> None:
        self.n, self._whole = n, mask is None
        noun = "row" if n == 1 else "rows"
        self.outliers = _NO_ROWS
        if mask is None:
            self.count, self.words = n, f"{n:,} {noun}"
        else:
            self.count = int(np.count_nonzero(mask))
            self.words = f"{self.count:,} of {n:,} {noun}"
        if len(outliers):
            self.outliers = outliers if mask is None else outliers[mask[outliers]]
            mask = np.ones(n, np.bool_) if mask is None else mask.copy()
            mask[outliers] = False
        self.mask = mask

    @property
    def scanned(self) -> int:
        """Number of kept rows that are not outliers."""
        return self.count - len(self.outliers)

    def rows(self) -> IntArray:
        """Return all kept rows, ascending."""
        if self._whole:
            return np.arange(self.n)
        assert self.mask is not None
        at = np.flatnonzero(self.mask)
        return np.union1d(at, self.outliers) if len(self.outliers) else at

    def parts(self, bound: UpperBound, begin: int, end: int, queries: int) -> ScanParts:
        """Return the parts of a scan of the rows from `begin` to `end`.

        If the mask keeps few rows, they are copied and scanned separately; otherwise all rows are
        scanned and the mask is applied afterwards.
        """
        if self.mask is not None and self.scanned * _GATHER <= self.n:
            at = np.flatnonzero(self.mask[begin:end]) + begin
            size = _GATHERED_ROWS
            return [(bound, at[i : i + size]) for i in range(0, len(at), size)]
        size = BLOCK_ROWS if queries == 1 else _CHUNK_ROWS
        if end - begin > 0 and end <= min(begin + size, BLOCK_ROWS):
            return [(bound, slice(begin, end))]
        return [(bound, chunk) for chunk in block_slices(begin, end, size)]


def top_rows(
    parts: ScanParts, near: RowsBound, top_k: int, kept: RowMask, limit: float = np.inf
) -> TopRows | None:
    """Return the best `top_k` of the `kept` rows of `parts`, for each query of `near`.

    None if more than `limit` rows per query are candidates. The result is as reliable as the
    bounds.
    """
    candidates = Candidates(near, top_k, kept.mask)
    for bound, chosen in parts:
        candidates.add(bound, chosen)
    return candidates.answer(limit)


def score_all(at: IntArray, rows: VectorRows, queries: Queries, top_k: int) -> list[RankedRows]:
    """Return the best `top_k` of the rows `at` for each query, without bounds."""
    query = np.repeat(np.arange(len(queries)), len(at))
    return score_pairs(query, np.tile(at, len(queries)), rows, queries, top_k)
