"""Candidates: rows that may be among the best, by bounds on many ranks and few exact scores."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.vectors.arrays import BoolArray, Float64Array, IntArray
from conduit_lab.vectors.index.bound import Pairs, RowSelection, UpperBound
from conduit_lab.vectors.index.rows import RowsBound, VectorRows
from conduit_lab.vectors.index.scoring import DISTANCES, Queries

RankedRows = tuple[IntArray, Float64Array]  # rows and their scores, best first

_DEPTH = 2  # rescore this multiple of top_k in float32 to set the threshold
_GROWTH = 2  # raise the threshold again after scanning this multiple of rows
_FLOAT64_PAIRS = 32  # per query beyond top_k, scored directly in float64


class TopRows(NamedTuple):
    """The best rows of each query, and the number of rescored candidates."""

    found: list[RankedRows]
    rescored: list[int]


class Candidates:
    """The rows that may be among the best `top_k`, collected while rows are scanned in parts.

    `threshold` float64 `[q]` is the minimum rank of each query's results: the rank of the
    `top_k`-th best row among the rows with the best bounds so far. A row whose bound does not reach
    it need not be scored. `mask` filters rows of slices; rows given by number are all kept.
    """

    def __init__(self, near: RowsBound, top_k: int, mask: BoolArray | None) -> None:
        self._near, self._top_k, self._mask = near, top_k, mask
        self._depth = _DEPTH * top_k
        self._found: list[Pairs] = []
        self._new: list[Pairs] = []  # of these, the pairs not yet reflected in `threshold`
        self._top: list[Pairs] = []  # per query the pairs with the `_depth` best bounds
        queries = len(near.queries.vectors)
        self._edge = np.full(queries, -np.inf)  # the lowest of these bounds
        self._scanned = self._known = 0  # rows, and rows reflected in `threshold`
        self.threshold = np.full(queries, -np.inf)

    def add(self, bound: UpperBound, chosen: RowSelection) -> None:
        """Scan more rows."""
        self._scanned += chosen.stop - chosen.start if isinstance(chosen, slice) else len(chosen)
        if np.isneginf(self.threshold).any():
            self._found.append(self._first(bound, chosen))
            return
        pairs = bound.above(chosen, self.threshold)
        if self._mask is not None and isinstance(chosen, slice):
            pairs = pairs.where(self._mask[pairs.row])
        self._found.append(pairs)
        self._new.append(pairs)
        if self._scanned >= _GROWTH * self._known:
            self._raise()

    def answer(self, limit: float) -> TopRows | None:
        """Return the best of the scanned rows; None above `limit` candidates per query."""
        if self._new:
            self._raise()
        near, queries = self._near, len(self.threshold)
        pairs = self._found[0] if len(self._found) == 1 else _joined(self._found)
        if len(self._found) > 1:
            pairs = pairs.where(pairs.bound >= self.threshold[pairs.query])
        if len(pairs.row) > limit * queries:
            return None
        if queries == 1:
            rescored = [len(pairs.row)]
        else:
            rescored = np.bincount(pairs.query, minlength=queries).tolist()
        if len(pairs.row) > (_FLOAT64_PAIRS + self._top_k) * queries:
            ranks = near.ranks(pairs.query, pairs.row) + near.slack[pairs.query]
            pairs = pairs.where(ranks >= self.threshold[pairs.query])
        found = score_pairs(pairs.query, pairs.row, near.rows, near.queries, self._top_k)
        return TopRows(found, rescored)

    def _first(self, bound: UpperBound, chosen: RowSelection) -> Pairs:
        """Scan the first rows, set the threshold, and return the rows that reach it."""
        values, looseness = bound.values(chosen), bound.looseness(chosen)
        if self._mask is not None and isinstance(chosen, slice):
            at = np.flatnonzero(self._mask[chosen])
            values, chosen = values[:, at], at + chosen.start
        if looseness is None:
            reached = _reached(values, self._depth) + bound.slack
            self._new = [bound.pairs(values, chosen, reached)]
            self._raise()
        else:
            self._known = self._scanned
            reached = _reached(values, self._top_k) - looseness
            self.threshold = np.maximum(self.threshold, reached)
        return bound.pairs(values, chosen, self.threshold)

    def _raise(self) -> None:
        """Raise the threshold by the ranks of the rows with the best bounds."""
        new, self._new, self._known = _joined(self._new), [], self._scanned
        top = _joined([*self._top, new.where(new.bound >= self._edge[new.query])])
        order = _in_order(top)
        query = top.query[order]
        place = np.arange(len(query)) - np.searchsorted(query, query)
        top, place = top.where(order[place < self._depth]), place[place < self._depth]
        self._top = [top]
        self._edge[top.query[place == self._depth - 1]] = top.bound[place == self._depth - 1]
        ranks = np.full((len(self.threshold), self._depth), -np.inf)
        ranks[top.query, place] = self._near.ranks(top.query, top.row)
        reached = np.partition(ranks, -self._top_k, axis=1)[:, -self._top_k]
        np.maximum(self.threshold, reached - self._near.slack, out=self.threshold)


def _reached(values: Array, depth: int) -> Float64Array:
    """Return per query a value reached by at least `depth` of `values` `[q, m]`.

    It is close to the `depth`-th best value: it is the `depth`-th best of group maxima, which are
    far fewer and computed at memory speed. The rows of a group are far apart, so similar neighbours
    do not share a group.
    """
    groups = 4 * depth
    width = values.shape[1] // groups
    if width > 1:
        values = values[:, : width * groups].reshape(-1, width, groups).max(axis=1)
    elif values.shape[1] <= depth:
        return np.full(len(values), -np.inf)
    reached = np.partition(values, -depth, axis=1)[:, -depth]
    return reached.astype(np.float64)


def _in_order(pairs: Pairs) -> IntArray:
    """Return the indices of pairs by query, best bound first.

    Sorting by one key is many times faster than by two.
    """
    if not len(pairs.row):
        return pairs.row
    bound = pairs.bound.astype(np.float64)
    highest = bound.max()
    return np.argsort(pairs.query + (highest - bound) / (2 * (highest - bound.min()) or 1))


def _joined(parts: list[Pairs]) -> Pairs:
    """Return all pairs of some parts."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def score_pairs(
    query: IntArray, row: IntArray, rows: VectorRows, queries: Queries, top_k: int
) -> list[RankedRows]:
    """Score these pairs and return each query's best `top_k`, ties by row."""
    score = rows.scores(row, queries, query)
    key = score if rows.metric in DISTANCES else -score
    if len(queries.vectors) == 1:
        order = np.lexsort((row, key))[:top_k]
        return [(row[order], score[order])]
    order = np.lexsort((row, key, query))
    query, row, score = query[order], row[order], score[order]
    ends = np.searchsorted(query, np.arange(len(queries) + 1)).tolist()
    found: list[RankedRows] = []
    for begin, end in pairwise(ends):
        here = slice(begin, min(begin + top_k, end))
        found.append((row[here], score[here]))
    return found
