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
from conduit_lab.vectors.index.scoring import Queries

# Lengths between which no float32 product or square over- or underflows, with room for a sum of millions.
TAME = (1e-12, 1e12)
_NEAR = 256  # rows of a copy: it stays in the processor's cache
_NARROW = 256  # rows of a manhattan difference: it stays in the processor's cache


class Rows:
    """Vectors float32 `[n, dimension]` as they were given, and the length of each.

    `vectors` and `lengths` are those of a snapshot, used as they are.
    """

    def __init__(
        self, dimension: int, metric: str, vectors: FloatArray | None = None, lengths: FloatArray | None = None
    ) -> None:
        self.metric, self.dimension = metric, dimension
        self.vectors = Blocks((dimension,), np.float32, vectors)
        self._shortest, self.longest = np.inf, 0.0  # of all that were ever here; zero vectors aside
        if vectors is not None and (lengths is None or len(lengths) != len(vectors)):
            lengths = self._measure(vectors)
        elif lengths is not None:
            self._extend(lengths)
        self.lengths = Blocks((), np.float32, lengths)

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
        self.vectors.append(vectors)
        self.lengths.append(lengths)

    def replace(self, at: IntArray, vectors: FloatArray) -> None:
        """Overwrite the rows `at`."""
        self.vectors.replace(at, vectors)
        self.lengths.replace(at, self._measure(vectors))

    def keep(self, alive: BoolArray) -> None:
        """Drop every row that is not `alive`."""
        self.vectors.keep(alive)
        self.lengths.keep(alive)

    def tame(self, queries: Queries | None = None) -> bool:
        """Tell whether float32 can bound the products of rows with each other, and with these queries."""
        asked: list[float] = [] if queries is None else queries.lengths[queries.lengths > 0].tolist()
        return min(self._shortest, *asked, 1.0) >= TAME[0] and max(self.longest, *asked, 1.0) <= TAME[1]

    def bound(self, queries: Queries) -> RowsBound:
        """Return how to bound the ranks of rows for some queries."""
        if not self.tame(queries):
            return Wide(self, queries)
        return Manhattan(self, queries) if self.metric == "manhattan" else Product(self, queries)

    def scores(self, at: IntArray, queries: Queries, query: IntArray) -> npt.NDArray[np.float64]:
        """Return the score of each row `at` for its own query, given by number."""
        blocks = [slice(begin, begin + _NEAR) for begin in range(0, len(at), _NEAR)]
        each = [queries.scores(self.get(at[here]), query[here]) for here in blocks]
        return each[0] if len(each) == 1 else np.concatenate([*each, np.empty(0)])

    def _measure(self, vectors: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):  # inf is not tame, and never used
            lengths = scoring.lengths(vectors).astype(np.float32)
        self._extend(lengths)
        if self.metric == "cosine":
            lengths[lengths == 0] = 1
        return lengths

    def _extend(self, lengths: FloatArray) -> None:
        self._shortest = min(self._shortest, float(lengths[lengths > 0].min(initial=np.inf)))
        self.longest = max(self.longest, float(lengths.max(initial=0.0)))

    def length(self, chosen: Chosen) -> FloatArray:
        """Return the lengths of chosen rows; with cosine 1 for a zero vector, so that all may be divided by."""
        got = self.lengths.view(chosen) if isinstance(chosen, slice) else self.lengths.take(chosen)
        return cast(FloatArray, got)

    def near(self, chosen: Chosen) -> FloatArray:
        """Return chosen rows as codes are made of them: with cosine at length 1."""
        rows = self.get(chosen)
        return rows / self.length(chosen)[:, np.newaxis] if self.metric == "cosine" else rows

    def get(self, chosen: Chosen) -> FloatArray:
        """Return the rows of a chunk, as they lie, or a copy of those at chosen places."""
        return cast(FloatArray, self.vectors.view(chosen) if isinstance(chosen, slice) else self.vectors.take(chosen))


class RowsBound(Bound):
    """A bound that is nearly the rank itself: off by at most `plus`, up or down."""

    def __init__(self, rows: Rows, queries: Queries) -> None:
        self.rows, self.queries = rows, queries

    def short(self, chosen: Chosen) -> Array:
        """Return `plus`."""
        return self.plus

    @abstractmethod
    def ranks(self, query: IntArray, row: IntArray) -> Array:
        """Return the rank of each row for its query, given by number."""


class Product(RowsBound):
    """Ranks by one float32 product: cosine, dot, l2.

    A float32 dot product is off by at most about dimension x 2^-24 x |x||q| (Higham, Accuracy and Stability of
    Numerical Algorithms, 3.5); the lengths' own rounding is in the 16 beside it.
    """

    def __init__(self, rows: Rows, queries: Queries) -> None:
        super().__init__(rows, queries)
        longest = 1.0 if rows.metric == "cosine" else rows.longest
        reach = longest * (queries.reach + (longest if rows.metric == "l2" else 0.0))
        self.plus = np.full(len(queries), (rows.dimension + 16) * 2.0**-24 * reach, np.float32)

    def ranks(self, query: IntArray, row: IntArray) -> FloatArray:
        """Return the rank of each row for its query, nearly."""
        return _in_blocks(self._pairs, query, row)

    def values(self, chosen: Chosen) -> FloatArray:
        """Return the ranks float32 `[q, m]`, nearly."""
        rows = self.rows.get(chosen)
        # vecdot, not @, for one: it never waits for BLAS threads, which costs 10 ms where the cores are busy.
        one = len(self.queries.near) == 1
        ranks = np.vecdot(rows, self.queries.near[0])[np.newaxis] if one else self.queries.near @ rows.T
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

    def ranks(self, query: IntArray, row: IntArray) -> FloatArray:
        """Return the rank of each row for its query, nearly."""
        return _in_blocks(lambda q, r: -np.abs(self.rows.get(r) - self.queries.vectors[q]).sum(axis=1), query, row)

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
    """Ranks in float64, for vectors so long or short that float32 products over- or underflow."""

    def __init__(self, rows: Rows, queries: Queries) -> None:
        super().__init__(rows, queries)
        self.plus = np.zeros(len(queries))

    def ranks(self, query: IntArray, row: IntArray) -> Array:
        """Return the rank of each row for its query."""
        return self.queries.ranks(self.rows.scores(row, self.queries, query), query)

    def values(self, chosen: Chosen) -> Array:
        """Return the ranks float64 `[q, m]`."""
        at = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
        each = [np.full(len(at), query) for query in range(len(self.queries))]
        return np.stack([self.ranks(query, at) for query in each])


def _in_blocks(ranks: Callable[[IntArray, IntArray], FloatArray], query: IntArray, row: IntArray) -> FloatArray:
    """Call `ranks` with a few pairs at a time, so that their copies stay in the processor's cache."""
    if len(row) <= _NEAR:
        return ranks(query, row)
    each = [slice(begin, begin + _NEAR) for begin in range(0, len(row), _NEAR)]
    return np.concatenate([ranks(query[here], row[here]) for here in each])
