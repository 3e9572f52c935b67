"""Scan: which rows a search goes through, part by part, and the best of them."""

from __future__ import annotations

import numpy as np

from conduit_lab.vectors.index.blocks import ROWS, chunks
from conduit_lab.vectors.index.bound import BoolArray, Bound, Chosen, IntArray
from conduit_lab.vectors.index.candidates import Best, Candidates, Found, scored
from conduit_lab.vectors.index.rows import Rows, RowsBound
from conduit_lab.vectors.index.scoring import Queries

Parts = list[tuple[Bound, Chosen]]

_CHUNK = 4_096  # rows of a product with many queries: what it makes stays near the processor
_COPIED = 2_048  # rows of a gathered copy
_GATHER = 4  # a mask that keeps one row in so many is answered by copying those rows out


class Kept:
    """The rows of `n` that a search may give: all of them, or those of a mask.

    `odd` are those of them that no scan bounds, which are scored one by one; `mask` has the others,
    or is None where these are all rows.
    """

    def __init__(self, mask: BoolArray | None, n: int, odd: IntArray | None = None) -> None:
        self.n, self._whole = n, mask is None
        self.count = n if mask is None else int(np.count_nonzero(mask))
        self.odd: IntArray = np.empty(0, np.int64)
        if odd is not None and len(odd):
            self.odd = odd if mask is None else odd[mask[odd]]
            mask = np.ones(n, np.bool_) if mask is None else mask.copy()
            mask[odd] = False
        self.mask = mask

    def __str__(self) -> str:
        return f"{self.n:,} rows" if self._whole else f"{self.count:,} of {self.n:,} rows"

    @property
    def scanned(self) -> int:
        """Number of kept rows that are not odd."""
        return self.count - len(self.odd)

    def rows(self) -> IntArray:
        """Return all kept rows, ascending."""
        if self._whole:
            return np.arange(self.n)
        assert self.mask is not None
        at = np.flatnonzero(self.mask)
        return np.union1d(at, self.odd) if len(self.odd) else at

    def parts(self, bound: Bound, begin: int, end: int, queries: int) -> Parts:
        """Return what a scan of the rows from `begin` to `end` goes through.

        Few rows of a mask are copied out and scanned by themselves; else all are, and the mask is
        obeyed after.
        """
        if self.mask is not None and self.scanned * _GATHER <= self.n:
            at = np.flatnonzero(self.mask[begin:end]) + begin
            return [(bound, at[i : i + _COPIED]) for i in range(0, len(at), _COPIED)]
        return [(bound, chunk) for chunk in chunks(begin, end, ROWS if queries == 1 else _CHUNK)]


def best(
    parts: Parts, near: RowsBound, top_k: int, kept: Kept, limit: float = np.inf
) -> Best | None:
    """Return the best `top_k` of those rows of `parts` that are `kept`, for each query of `near`.

    None when there are more than `limit` rows a query to look at. Where the bounds are true, so is
    the answer.
    """
    candidates = Candidates(near, top_k, kept.mask)
    for bound, chosen in parts:
        candidates.see(bound, chosen)
    return candidates.answer(limit)


def all_scored(at: IntArray, rows: Rows, queries: Queries, top_k: int) -> list[Found]:
    """Return the best `top_k` of the rows `at` for each query, without bounds."""
    query = np.repeat(np.arange(len(queries)), len(at))
    return scored(query, np.tile(at, len(queries)), rows, queries, top_k)
