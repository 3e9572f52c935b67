"""Scan: the best rows for some queries, from bounds on the ranks of many and the exact scores of few."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array
from conduit_lab.vectors.index import scoring
from conduit_lab.vectors.index.blocks import ROWS, chunks
from conduit_lab.vectors.index.bound import BoolArray, Bound, Chosen, IntArray
from conduit_lab.vectors.index.rows import Rows
from conduit_lab.vectors.index.scoring import Queries

Found = tuple[IntArray, npt.NDArray[np.float64]]  # rows and their scores, best first

_CHUNK = 4_096  # rows of a product with many queries: what it makes stays near the processor
_COPIED = 2_048  # rows of a gathered copy
_GATHER = 4  # a mask that keeps one row in so many is answered by copying those rows out
_FEW = 256  # pairs of a query and a row that are scored faster than they are bounded


Parts = list[tuple[Bound, Chosen]]


class Kept:
    """Which of `n` rows a search may give: all of them, or those of a mask.

    Few rows of a mask, `at`, are copied out and scanned by themselves; else all are, and `mask` is obeyed after.
    """

    def __init__(self, mask: BoolArray | None, n: int) -> None:
        self.n, self._all = n, mask is None
        self.count = n if mask is None else int(np.count_nonzero(mask))
        self.at: IntArray | None = None
        self.mask = mask
        if mask is not None and self.count * _GATHER <= n:
            self.at, self.mask = np.flatnonzero(mask), None

    def __str__(self) -> str:
        return f"{self.n:,} rows" if self._all else f"{self.count:,} of {self.n:,} rows"

    def parts(self, bound: Bound, begin: int, end: int, queries: int) -> Parts:
        """Return what a scan of the rows from `begin` to `end` goes through."""
        if self.at is None:
            return [(bound, chunk) for chunk in chunks(begin, end, ROWS if queries == 1 else _CHUNK)]
        at = self.at[slice(*np.searchsorted(self.at, [begin, end]))]
        return [(bound, at[i : i + _COPIED]) for i in range(0, len(at), _COPIED)]


class Hits(NamedTuple):
    """Pairs of a query and a row, by query, best bound first, ties by row; every other row's is below `least` `[q]`."""

    query: IntArray
    row: IntArray
    bound: Array
    least: Array


def best(
    parts: Parts,
    rows: Rows,
    queries: Queries,
    top_k: int,
    keep: BoolArray | None = None,
    *,
    depth: int,
    limit: int | None = None,
) -> list[Found] | None:
    """Return the best `top_k` of those rows of `parts` that `keep` `[n]` names, for each query.

    The rows with the best bounds are scored first. The worst of those scores is one that the answer will not go
    below, so the other rows whose bound does not reach it need no score. `depth` guesses how many do reach it: if
    more may, the parts are gone through again. None when a query has more than `limit` rows that do.
    """
    hits = collect(parts, len(queries), depth, keep)
    first = slice(None) if len(hits.query) <= _FEW else np.flatnonzero(_places(hits.query) < top_k)
    scored = _scored(hits.query[first], hits.row[first], rows, queries)
    sure = _kth(scored, queries, top_k)
    if (sure < hits.least).any():  # rows that were not collected may reach it
        hits = collect(parts, len(queries), 0, keep, sure)
        first = np.empty(0, np.int64)
        scored = _Scored(scored.query[:0], scored.row[:0], scored.score[:0])
    elif isinstance(first, slice):
        return _split(scored, len(queries), top_k)
    more = hits.bound >= sure[hits.query]
    more[first] = False
    if limit is not None and np.bincount(hits.query[more]).max(initial=0) > limit:
        return None
    rest = _scored(hits.query[more], hits.row[more], rows, queries)
    joined = _Scored(
        np.concatenate([scored.query, rest.query]),
        np.concatenate([scored.row, rest.row]),
        np.concatenate([scored.score, rest.score]),
    )
    return _split(joined.in_order(rows.metric), len(queries), top_k)


def all_scored(at: IntArray, rows: Rows, queries: Queries, top_k: int) -> list[Found]:
    """Return the best `top_k` of the rows `at` for each query, without bounds."""
    query = np.repeat(np.arange(len(queries)), len(at))
    return _split(_scored(query, np.tile(at, len(queries)), rows, queries), len(queries), top_k)


def shortlist(
    parts: Parts, rows: Rows, query: Queries, top_k: int, keep: BoolArray | None, limit: int
) -> IntArray | None:
    """Return the rows of `parts` that may be among the best `top_k` for one query, ascending.

    None when they are more than `limit`. With bounds that nearly every rank keeps, nearly none is missing.
    """
    seen: list[Array] = []
    hits = collect(parts, 1, 8 * top_k + 64, keep, seen=seen)
    sure = _kth(_scored(hits.query, hits.row, rows, query), query, top_k)
    if (sure < hits.least).any():
        hits = collect(parts, 1, 0, None, sure, seen)
    row = hits.row[hits.bound >= sure]
    return np.sort(row) if len(row) <= limit else None


def collect(
    parts: Parts,
    queries: int,
    depth: int,
    keep: BoolArray | None = None,
    floor: Array | None = None,
    seen: list[Array] | None = None,
) -> Hits:
    """Return every row whose bound is at least `floor` `[q]`; without it at least each query's best `depth` rows.

    Without a floor more rows may come, never fewer unless there are no more. `seen` keeps the values of the parts
    for a second look, which then does not compute them again.
    """
    best_of = Floor(queries, depth)
    found: list[tuple[IntArray, IntArray, Array]] = []
    again = iter(list(seen or []))
    for bound, chosen in parts:
        values = next(again, None)
        if values is None:
            values = bound(chosen)
            if keep is not None:
                np.copyto(values, -np.inf, where=~keep[chosen])
            if seen is not None:
                seen.append(values)
        least = best_of.raised(values, bound) if floor is None else floor
        reach = values >= ((least - bound.plus) / bound.times)[:, np.newaxis]
        if queries == 1:
            at = np.flatnonzero(reach)
            query = np.zeros_like(at)
        elif reach.flags.c_contiguous:
            query, at = np.divmod(np.flatnonzero(reach), reach.shape[1])
        else:  # [m, q] in memory: many queries against 8-bit rows
            at, query = np.divmod(np.flatnonzero(reach.T), reach.shape[0])
        row = at + chosen.start if isinstance(chosen, slice) else chosen[at]
        found.append((query, row, values[query, at] * bound.times[query] + bound.plus[query]))
    if not found:
        none = np.empty(0, np.int64)
        return Hits(none, none, np.empty(0, np.float32), best_of.least)
    least = best_of.least if floor is None else floor
    query, row, value = found[0]
    if len(found) > 1:
        query, row, value = (np.concatenate(column) for column in zip(*found, strict=True))
        kept = value >= least[query]  # the floor rose after some were found
        query, row, value = query[kept], row[kept], value[kept]
    if keep is not None:
        kept = value > -np.inf
        query, row, value = query[kept], row[kept], value[kept]
    order = np.lexsort((row, -value, query))
    return Hits(query[order], row[order], value[order], least)


class Floor:
    """For each query a value that at least `depth` of the rows seen so far reach, close to the `depth`-th best.

    The maxima of groups of rows are far fewer than the rows, and come at the speed of memory. The rows of a group
    lie far apart, so that alike neighbours do not share one.
    """

    def __init__(self, queries: int, depth: int) -> None:
        self.least: Array = np.full(queries, -np.inf, np.float32)
        self._depth, self._maxima = depth, np.full((queries, 4 * depth), -np.inf, np.float32)

    def raised(self, values: Array, bound: Bound) -> Array:
        """Return `least` with the next rows' `values` `[q, m]` of `bound` taken in."""
        groups = self._maxima.shape[1]
        width = values.shape[1] // groups
        if width > 1:
            values = values[:, : width * groups].reshape(-1, width, groups).max(axis=1)
        if values.shape[1] > self._depth:
            bounds = values * bound.times[:, np.newaxis] + bound.plus[:, np.newaxis]
            if width > 1:
                bounds = np.maximum(self._maxima, bounds, out=self._maxima)
            at = bounds.shape[1] - self._depth
            self.least = np.maximum(self.least, np.partition(bounds, at, axis=1)[:, at])
        return self.least


def _places(query: IntArray) -> IntArray:
    """Return the place of each pair among those of its query, from 0; `query` ascends."""
    return np.arange(len(query)) - np.searchsorted(query, query)


class _Scored(NamedTuple):
    """Pairs of a query and a row with their scores."""

    query: IntArray
    row: IntArray
    score: npt.NDArray[np.float64]

    def in_order(self, metric: str) -> _Scored:
        """Return them by query, best first, ties by row."""
        key = self.score if scoring.is_distance(metric) else -self.score
        order = np.lexsort((self.row, key, self.query))
        return _Scored(self.query[order], self.row[order], self.score[order])


def _scored(query: IntArray, row: IntArray, rows: Rows, queries: Queries) -> _Scored:
    """Return these pairs scored and in order."""
    return _Scored(query, row, rows.scores(row, queries, query)).in_order(rows.metric)


def _kth(scored: _Scored, queries: Queries, top_k: int) -> npt.NDArray[np.float64]:
    """Return what the rank of each query's `top_k`-th pair is at least, -inf where there are fewer."""
    ends = np.searchsorted(scored.query, np.arange(len(queries) + 1))
    at = ends[:-1] + top_k - 1
    there = np.flatnonzero(at < ends[1:])
    kth = np.full(len(queries), -np.inf)
    kth[there] = queries.floor(scored.score[at[there]], there)
    return kth


def _split(scored: _Scored, queries: int, top_k: int) -> list[Found]:
    """Return each query's best `top_k`."""
    ends = np.searchsorted(scored.query, np.arange(queries + 1))
    each = [slice(begin, min(begin + top_k, end)) for begin, end in pairwise(ends.tolist())]
    return [(scored.row[here], scored.score[here]) for here in each]
