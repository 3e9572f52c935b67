"""Rows: the float32 vectors of an index, and a bound of every row's rank from one float32 product."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.index import scoring
from conduit_lab.vectors.index.blocks import Blocks, chunks
from conduit_lab.vectors.index.bound import BoolArray, Bound, Chosen, IntArray
from conduit_lab.vectors.index.scoring import TAME, Queries

# A row this many times as long as all but one in `_RARE` is odd: the slack that its length asks for
# would let every other row pass.
_LONG, _RARE = 32, 32
_NEAR = 256  # rows of a copy: it stays in the processor's cache
_NARROW = 256  # rows of a manhattan difference: it stays in the processor's cache


class Rows:
    """Vectors float32 `[n, dimension]` as they were given, and the length of each.

    `vectors` and `lengths` are those of a snapshot, used as they are. `odd` are the numbers,
    ascending, of the rows that a scan leaves out, since float32 cannot bound their ranks, or only
    at the expense of all others: their length is outside of `TAME`, or for all metrics but cosine
    far beyond the usual. Zero vectors are not among them. `longest` is the greatest length of the
    other rows that ever were here.
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
        self.odd: IntArray = np.empty(0, np.int64)
        self.longest = 0.0
        self._limit = np.inf  # the usual lengths end here
        self._judged = self._rare = 0  # rows, and odd ones, when the limit was set
        self._judge()

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.vectors.nbytes + self.lengths.nbytes

    def append(self, vectors: FloatArray) -> None:
        """Add copies of `vectors` `[m, dimension]`."""
        lengths = self._measure(vectors)
        self.lengths.reserve(len(lengths))  # so that both are added, or none
        first = len(self)
        self.vectors.append(vectors)
        self.lengths.append(lengths)
        self._note(np.arange(first, len(self)), lengths)

    def replace(self, at: IntArray, vectors: FloatArray) -> None:
        """Overwrite the rows `at`."""
        lengths = self._measure(vectors)
        self.vectors.replace(at, vectors)
        self.lengths.replace(at, lengths)
        self._note(at, lengths)

    def keep(self, alive: BoolArray) -> None:
        """Drop every row that is not `alive`."""
        self.vectors.keep(alive)
        self.lengths.keep(alive)
        self._judge()

    def sample(self, end: int, count: int) -> IntArray:
        """Return at most `count` of the rows below `end` that are not odd, spread evenly."""
        rows = np.delete(np.arange(end), self.odd[self.odd < end])
        return rows[
            np.unique(np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(np.int64))
        ]

    def bound(self, queries: Queries) -> RowsBound:
        """Return how to bound the ranks of rows for some queries."""
        if queries.odd is not None:
            return Wide(self, queries)
        return Manhattan(self, queries) if self.metric == "manhattan" else Product(self, queries)

    def scores(self, at: IntArray, queries: Queries, query: IntArray) -> npt.NDArray[np.float64]:
        """Return the score of each row `at` for its own query, given by number."""
        blocks = [slice(begin, begin + _NEAR) for begin in range(0, len(at), _NEAR)]
        each = [queries.scores(self.get(at[here]), query[here]) for here in blocks]
        return each[0] if len(each) == 1 else np.concatenate([*each, np.empty(0)])

    def _measure(self, vectors: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):  # inf is odd, and never used
            lengths = scoring.lengths(vectors).astype(np.float32)
        if self.metric == "cosine":
            lengths[lengths == 0] = 1
        return lengths

    def _note(self, at: IntArray, lengths: FloatArray) -> None:
        """Take in the lengths of the rows `at`."""
        longest = float(lengths.max(initial=0.0))
        if (
            len(self.odd)
            or longest > min(self._limit, TAME[1])
            or lengths.min(initial=np.inf) < TAME[0]
        ):
            self.odd = np.setdiff1d(self.odd, at)
            odd = scoring.odd(lengths) | (lengths > self._limit)
            self.odd = np.union1d(self.odd, at[odd])
            longest = float(lengths[~odd].max(initial=0.0))
        self.longest = max(self.longest, longest)
        if len(self) > 2 * self._judged or len(self.odd) > self._rare + len(self) // _RARE:
            self._judge()

    def _judge(self) -> None:
        """Recompute the odd rows."""
        lengths = self.lengths.take(np.arange(len(self)))
        odd = scoring.odd(lengths)
        if self.metric != "cosine" and not odd.all():
            usual = np.sort(lengths[~odd])
            self._limit = _LONG * float(usual[len(usual) - 1 - len(usual) // _RARE]) or np.inf
            odd |= lengths > self._limit
        self.odd = np.flatnonzero(odd)
        self.longest = float(lengths[~odd].max(initial=0.0))
        self._judged, self._rare = len(self), len(self.odd)

    def usual(self, chosen: slice, values: FloatArray) -> FloatArray:
        """Return those of the `values` of chosen rows that are not of odd ones."""
        begin, end = np.searchsorted(self.odd, (chosen.start, chosen.stop)).tolist()
        return values if begin == end else np.delete(values, self.odd[begin:end] - chosen.start)

    def length(self, chosen: Chosen) -> FloatArray:
        """Return the lengths of chosen rows, those outside of `TAME` as of zero vectors.

        With cosine 1 for a zero vector, so that all may be divided by.
        """
        got = self.lengths.view(chosen) if isinstance(chosen, slice) else self.lengths.take(chosen)
        if len(self.odd):
            got = np.where(scoring.odd(got), np.float32(self.metric == "cosine"), got)
        return cast(FloatArray, got)

    def near(self, chosen: Chosen) -> FloatArray:
        """Return chosen rows as codes are made of them: with cosine at length 1, outside of `TAME` as zero vectors."""
        rows = self.get(chosen)
        if len(self.odd):
            lengths = (
                self.lengths.view(chosen)
                if isinstance(chosen, slice)
                else self.lengths.take(chosen)
            )
            rows = np.where(scoring.odd(lengths)[:, np.newaxis], np.float32(0), rows)
        return rows / self.length(chosen)[:, np.newaxis] if self.metric == "cosine" else rows

    def get(self, chosen: Chosen) -> FloatArray:
        """Return the rows of a chunk, as they lie, or a copy of those at chosen places."""
        return cast(
            FloatArray,
            self.vectors.view(chosen) if isinstance(chosen, slice) else self.vectors.take(chosen),
        )


class RowsBound(Bound):
    """A bound that is nearly the rank itself: off by at most `plus`, up or down. Not for odd rows."""

    def __init__(self, rows: Rows, queries: Queries) -> None:
        self.rows, self.queries = rows, queries

    def short(self, chosen: Chosen) -> Array:
        """Return `plus`."""
        return self.plus

    def ranks(self, query: IntArray, row: IntArray) -> Array:
        """Return the rank of each row for its query, given by number; of an odd row as `Wide` has it."""
        ranks = self._ranks(query, row)
        if len(self.rows.odd) and len(odd := np.flatnonzero(np.isin(row, self.rows.odd))):
            ranks = ranks.astype(np.float64)
            ranks[odd] = _wide(self.rows, self.queries, query[odd], row[odd])
        return ranks

    @abstractmethod
    def _ranks(self, query: IntArray, row: IntArray) -> Array:
        """Return the ranks of rows that are not odd."""


class Product(RowsBound):
    """Ranks by one float32 product: cosine, dot, l2.

    A float32 dot product is off by at most about dimension x 2^-24 x |x||q| (Higham, Accuracy and
    Stability of Numerical Algorithms, 3.5); the lengths' own rounding is in the 16 beside it.
    """

    def __init__(self, rows: Rows, queries: Queries) -> None:
        super().__init__(rows, queries)
        longest = 1.0 if rows.metric == "cosine" else rows.longest
        reach = longest * (queries.reach + (longest if rows.metric == "l2" else 0.0))
        self.plus = np.full(len(queries), (rows.dimension + 16) * 2.0**-24 * reach, np.float32)

    def _ranks(self, query: IntArray, row: IntArray) -> FloatArray:
        return _in_blocks(self._pairs, query, row)

    def values(self, chosen: Chosen) -> FloatArray:
        """Return the ranks float32 `[q, m]`, nearly."""
        rows = self.rows.get(chosen)
        # vecdot, not @, for one: it never waits for BLAS threads, which costs 10 ms where the cores
        # are busy.
        one = len(self.queries.near) == 1
        ranks = (
            np.vecdot(rows, self.queries.near[0])[np.newaxis] if one else self.queries.near @ rows.T
        )
        if self.rows.metric == "cosine":
            ranks /= self.rows.length(chosen)
        elif self.rows.metric == "l2":
            ranks -= np.square(self.rows.length(chosen)) / 2
        return ranks

    def _pairs(self, query: IntArray, row: IntArray) -> FloatArray:
        asked = self.queries.near[0] if len(self.queries.near) == 1 else self.queries.near[query]
        ranks: FloatArray = np.vecdot(self.rows.get(row), asked)
        if self.rows.metric == "cosine":
            ranks /= self.rows.length(row)
        elif self.rows.metric == "l2":
            ranks -= np.square(self.rows.length(row)) / 2
        return ranks


class Manhattan(RowsBound):
    """Ranks by sums of float32 differences."""

    def __init__(self, rows: Rows, queries: Queries) -> None:
        super().__init__(rows, queries)
        reach = np.sqrt(rows.dimension) * (rows.longest + queries.lengths)
        self.plus = ((rows.dimension + 16) * 2.0**-24 * reach).astype(np.float32)

    def _ranks(self, query: IntArray, row: IntArray) -> FloatArray:
        return _in_blocks(
            lambda q, r: -np.abs(self.rows.get(r) - self.queries.vectors[q]).sum(axis=1), query, row
        )

    def values(self, chosen: Chosen) -> FloatArray:
        """Return the ranks float32 `[q, m]`, nearly."""
        rows = self.rows.get(chosen)
        ranks = np.empty((len(self.queries.vectors), len(rows)), np.float32)
        room = np.empty((_NARROW, rows.shape[1]), np.float32)
        for here in chunks(0, len(rows), _NARROW):
            for i, query in enumerate(self.queries.vectors):
                off = np.subtract(rows[here], query, out=room[: here.stop - here.start])
                ranks[i, here] = np.abs(off, out=off).sum(axis=1)
        return np.negative(ranks, out=ranks)


class Wide(RowsBound):
    """Ranks in float64, for odd rows and queries."""

    def __init__(self, rows: Rows, queries: Queries) -> None:
        super().__init__(rows, queries)
        self.plus = np.zeros(len(queries))

    def _ranks(self, query: IntArray, row: IntArray) -> Array:
        return _wide(self.rows, self.queries, query, row)

    def values(self, chosen: Chosen) -> Array:
        """Return the ranks float64 `[q, m]`."""
        at = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
        each = [np.full(len(at), query) for query in range(len(self.queries))]
        return np.stack([self._ranks(query, at) for query in each])


def _wide(rows: Rows, queries: Queries, query: IntArray, row: IntArray) -> npt.NDArray[np.float64]:
    return queries.ranks(rows.scores(row, queries, query), query)


def _in_blocks(
    ranks: Callable[[IntArray, IntArray], FloatArray], query: IntArray, row: IntArray
) -> FloatArray:
    """Call `ranks` with a few pairs at a time, so that their copies stay in the processor's cache."""
    if len(row) <= _NEAR:
        return ranks(query, row)
    each = [slice(begin, begin + _NEAR) for begin in range(0, len(row), _NEAR)]
    return np.concatenate([ranks(query[here], row[here]) for here in each])
