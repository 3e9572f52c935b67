"""Candidates: the rows that may be among the best, from bounds on many ranks and the exact scores of few."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array
from conduit_lab.vectors.index import scoring
from conduit_lab.vectors.index.bound import BoolArray, Bound, Chosen, IntArray, Pairs
from conduit_lab.vectors.index.rows import Rows, RowsBound
from conduit_lab.vectors.index.scoring import Queries

Found = tuple[IntArray, npt.NDArray[np.float64]]  # rows and their scores, best first

# times `top_k` rows with the best bounds are looked at in float32 to tell what the answer will not
# go below
_DEPTH = 2
_AGAIN = 2  # times as many rows were seen: time to ask again what the answer will not go below
_FEW = (
    32  # pairs for each query that are scored in float64 as soon as they are looked at in float32
)


class Best(NamedTuple):
    """For each query its best rows, and how many rows had to be compared in float32."""

    found: list[Found]
    looked: list[int]


class Candidates:
    """The rows that may be among the best `top_k`, while rows are looked at part by part.

    `least` float64 `[q]` is a rank that no query's answer will go below: that of the `top_k`-th
    best among the rows with the best bounds so far. A row whose bound does not reach it needs no
    score. `mask` has the kept rows of slices; rows that are named one by one are all kept.
    """

    def __init__(self, near: RowsBound, top_k: int, mask: BoolArray | None) -> None:
        self._near, self._top_k, self._mask = near, top_k, mask
        self._depth = _DEPTH * top_k
        self._found: list[Pairs] = []
        self._new: list[Pairs] = []  # those of them that `least` does not know of
        self._top: list[Pairs] = []  # of each query those with the `_depth` best bounds
        self._edge = np.full(len(near.queries), -np.inf)  # the last of these bounds
        self._seen = self._known = 0  # rows, and how many of them `least` knows of
        self.least = np.full(len(near.queries), -np.inf)

    def see(self, bound: Bound, chosen: Chosen) -> None:
        """Look at more rows."""
        self._seen += chosen.stop - chosen.start if isinstance(chosen, slice) else len(chosen)
        if np.isneginf(self.least).any():
            self._found.append(self._first(bound, chosen))
            return
        pairs = bound.above(chosen, self.least)
        if self._mask is not None and isinstance(chosen, slice):
            pairs = pairs.where(self._mask[pairs.row])
        self._found.append(pairs)
        self._new.append(pairs)
        if self._seen >= _AGAIN * self._known:
            self._raise()

    def answer(self, limit: float) -> Best | None:
        """Return the best of the rows that were seen."""
        if self._new:
            self._raise()
        pairs, queries = _joined(self._found), len(self.least)
        if len(self._found) > 1:
            pairs = pairs.where(pairs.bound >= self.least[pairs.query])
        if len(pairs.row) > limit * queries:
            return None
        looked = (
            [len(pairs.row)]
            if queries == 1
            else np.bincount(pairs.query, minlength=queries).tolist()
        )
        if len(pairs.row) > (_FEW + self._top_k) * queries:
            ranks = self._near.ranks(pairs.query, pairs.row) + self._near.plus[pairs.query]
            pairs = pairs.where(ranks >= self.least[pairs.query])
        return Best(
            scored(pairs.query, pairs.row, self._near.rows, self._near.queries, self._top_k), looked
        )

    def _first(self, bound: Bound, chosen: Chosen) -> Pairs:
        """Look at rows all of which may be among the best, and return those that are not far behind."""
        values, short = bound.values(chosen), bound.short(chosen)
        if self._mask is not None and isinstance(chosen, slice):
            at = np.flatnonzero(self._mask[chosen])
            values, chosen = values[:, at], at + chosen.start
        if short is None:
            self._new = [bound.pairs(values, chosen, _reached(values, self._depth) + bound.plus)]
            self._raise()
        else:
            self._known = self._seen
            self.least = np.maximum(self.least, _reached(values, self._top_k) - short)
        return bound.pairs(values, chosen, self.least)

    def _raise(self) -> None:
        """Raise `least` by what the best bounds are worth."""
        new, self._new, self._known = _joined(self._new), [], self._seen
        top = _joined([*self._top, new.where(new.bound >= self._edge[new.query])])
        order = _in_order(top)
        query = top.query[order]
        place = np.arange(len(query)) - np.searchsorted(query, query)
        top, place = top.where(order[place < self._depth]), place[place < self._depth]
        self._top = [top]
        self._edge[top.query[place == self._depth - 1]] = top.bound[place == self._depth - 1]
        ranks = np.full((len(self.least), self._depth), -np.inf)
        ranks[top.query, place] = self._near.ranks(top.query, top.row)
        least = np.partition(ranks, -self._top_k, axis=1)[:, -self._top_k] - self._near.plus
        np.maximum(self.least, least, out=self.least)


def _reached(values: Array, depth: int) -> npt.NDArray[np.float64]:
    """Return for each query a value that at least `depth` of `values` `[q, m]` reach, close to the
    `depth`-th best.

    The maxima of groups are far fewer, and come at the speed of memory. The rows of a group lie far
    apart, so that alike neighbours do not share one.
    """
    groups = 4 * depth
    width = values.shape[1] // groups
    if width > 1:
        values = values[:, : width * groups].reshape(-1, width, groups).max(axis=1)
    elif values.shape[1] <= depth:
        return np.full(len(values), -np.inf)
    reached: npt.NDArray[np.float64] = np.partition(values, -depth, axis=1)[:, -depth].astype(
        np.float64
    )
    return reached


def _in_order(pairs: Pairs) -> IntArray:
    """Return the places of pairs by query, the best bound first; by one number, many times as fast as by two."""
    if not len(pairs.row):
        return pairs.row
    bound = pairs.bound.astype(np.float64)
    best = bound.max()
    return np.argsort(pairs.query + (best - bound) / (2 * (best - bound.min()) or 1))


def _joined(parts: list[Pairs]) -> Pairs:
    """Return all pairs of some parts."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def scored(query: IntArray, row: IntArray, rows: Rows, queries: Queries, top_k: int) -> list[Found]:
    """Score these pairs and return each query's best `top_k`, ties by row."""
    score = rows.scores(row, queries, query)
    order = np.lexsort((row, score if scoring.is_distance(rows.metric) else -score, query))
    query, row, score = query[order], row[order], score[order]
    ends = np.searchsorted(query, np.arange(len(queries) + 1))
    each = [slice(begin, min(begin + top_k, end)) for begin, end in pairwise(ends.tolist())]
    return [(row[here], score[here]) for here in each]
