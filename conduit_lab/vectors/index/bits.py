"""Bits: one bit a dimension, for stores whose 8-bit codes take too long to read; an estimate, checked on the data."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from math import ceil

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.index.blocks import Blocks, chunks
from conduit_lab.vectors.index.bound import BoolArray, Bound, Chosen, IntArray
from conduit_lab.vectors.index.rows import Rows
from conduit_lab.vectors.index.scan import Kept, best
from conduit_lab.vectors.index.scoring import Queries

_NEAR = 1_024  # rows that are coded at once: their copies stay in the processor's cache
_SWEPT = 32_768  # rows whose signs are compared at once, for the same reason
_MEAN_OF = 8_192  # rows that the mean is taken of
_ASKED = 48  # rows that the margin is measured with, and how many neighbours of each
_NEIGHBOURS = 10
# standard deviations of differing signs: 99 % of neighbours are within them, and most well within
_SURE = 2.35
_SHARE, _MORE = (
    0.99,
    1.25,
)  # of the neighbours, and beyond what they needed, where the signs go together
_USEFUL = 32  # codes that leave more than one row in so many to score save nothing


class Bits:
    """Each row x, less the rows' mean m, as the signs of its values; with |x - m| and x·m in
    float32.

    Of two vectors at an angle, the share of signs that differ is about angle / pi (Goemans and
    Williamson 1995), so x·q is about |x - m||q - m| (pi/2 - pi differing / dimension) + x·m + q·m -
    m·m. The count of differing signs scatters by up to sqrt(dimension) / 2; `margin` differing
    signs fewer make a bound that nearly every rank keeps, however far the query's neighbours are.
    It is measured on rows of the store, and 0 where these codes are no use. For cosine x and q are
    at length 1. Not for manhattan.
    """

    name = "1-bit"

    def __init__(
        self, rows: Rows, saved: Mapping[str, Array] | None = None, begin: int = 0
    ) -> None:
        saved = saved or {}
        self._rows, self.begin = rows, begin
        self._mean: FloatArray | None = saved.get("mean")
        # A plane is 64 dimensions of every row: whole planes are compared at the speed of memory.
        planes = saved["planes"] if "planes" in saved else [None] * ceil(rows.dimension / 64)
        self._planes = [Blocks((), np.uint64, plane) for plane in planes]
        self._spans = Blocks((), np.float32, saved.get("spans"))
        self._offsets = Blocks((), np.float32, saved.get("offsets"))
        self.margin = float(saved["margin"][0]) if "margin" in saved else 0.0

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(column.nbytes for column in self._columns())

    def after(self) -> Bits:
        """Return codes for the rows after these, that `join` takes."""
        assert self._mean is not None
        return Bits(
            self._rows,
            {"mean": self._mean, "margin": np.array([self.margin])},
            self.begin + len(self),
        )

    def join(self, more: Bits) -> None:
        """Take in the codes of the rows that follow."""
        for column, other in zip(self._columns(), more._columns(), strict=True):
            column.join(other)

    def extend(self, end: int, stop: threading.Event) -> None:
        """Code the rows up to `end`, and with the first ones measure the margin; give up when `stop` is set."""
        first = self._mean is None
        if first:
            self._mean = self._rows.near(self._rows.sample(end, _MEAN_OF)).mean(axis=0)
        for chunk in chunks(self.begin + len(self), end, _NEAR):
            if stop.is_set():
                return
            for column, rows in zip(self._columns(), self._code(chunk), strict=True):
                column.append(rows)
        if first:
            self.margin = self._measured()

    def replace(self, at: IntArray) -> None:
        """Code the rows `at` again."""
        for column, rows in zip(self._columns(), self._code(at), strict=True):
            column.replace(at, rows)

    def keep(self, alive: BoolArray) -> None:
        """Drop every row that is not `alive`."""
        for column in self._columns():
            column.keep(alive)

    def save(self) -> dict[str, Array]:
        """Return the arrays that make it again."""
        assert self._mean is not None
        every = np.arange(len(self))
        return {
            "planes": np.stack([plane.take(every) for plane in self._planes]),
            "spans": self._spans.take(every),
            "offsets": self._offsets.take(every),
            "mean": self._mean,
            "margin": np.array([self.margin]),
        }

    def bound(self, queries: Queries) -> BitsBound:
        """Return how to bound the ranks of rows for some queries, nearly surely."""
        assert self._mean is not None
        away = queries.near - self._mean
        spans = np.sqrt(np.vecdot(away, away)) * np.float32(np.pi / self._rows.dimension)
        plus = np.vecdot(queries.near, self._mean) - np.vecdot(self._mean, self._mean)
        none = np.float32(self._rows.dimension / 2 + self.margin)
        return BitsBound(self._planes, self._spans, self._offsets, _signs(away), spans, plus, none)

    def _columns(self) -> tuple[Blocks, ...]:
        return (*self._planes, self._spans, self._offsets)

    def _code(self, chosen: Chosen) -> tuple[Array, ...]:
        assert self._mean is not None
        near = self._rows.near(chosen)
        away = near - self._mean
        offsets = np.vecdot(near, self._mean)
        if self._rows.metric == "l2":
            offsets -= np.square(self._rows.length(chosen)) / 2
        return (*_signs(away).T, np.sqrt(np.vecdot(away, away)), offsets)

    def _measured(self) -> float:
        """Return the margin that finds the neighbours of some rows, 0 where it leaves too many rows to score."""
        asked = self._rows.sample(len(self), _ASKED)
        queries = Queries(self._rows.get(asked), self._rows.metric)
        every = Kept(None, len(self), self._rows.odd[self._rows.odd < len(self)])
        exact = self._rows.bound(queries)
        near = best(every.parts(exact, 0, len(self), len(asked)), exact, _NEIGHBOURS + 1, every)
        assert near is not None
        query = np.repeat(np.arange(len(asked)), [len(rows) for rows, _ in near.found])
        neighbour = np.concatenate([rows for rows, _ in near.found])
        rank = queries.ranks(np.concatenate([scores for _, scores in near.found]), query)
        row, where = np.unique(neighbour, return_inverse=True)
        bound = self.bound(queries)
        estimate = bound.values(row)[query, where] + bound.plus[query]
        sign = bound.spans[query] * self._spans.take(
            neighbour
        )  # what one more differing sign takes off
        other = (neighbour != asked[query]) & (sign > 0)
        short = (rank - estimate)[other] / sign[other]
        margin = _SURE * np.sqrt(self._rows.dimension) / 2
        if len(short):
            margin = max(margin, _MORE * float(np.quantile(short, _SHARE)))

        self.margin = margin
        bound = self.bound(queries)
        sure = np.full(len(asked), np.inf)  # each query's worst neighbour
        np.minimum.at(sure, query, rank)
        left = np.zeros(len(asked))
        for _, chunk in every.parts(bound, 0, len(self), len(asked)):
            left += np.bincount(bound.above(chunk, sure).query, minlength=len(asked))
        return margin if np.median(left) * _USEFUL <= len(self) else 0.0


class BitsBound(Bound):
    """The bound for some queries."""

    def __init__(
        self,
        planes: list[Blocks],
        spans: Blocks,
        offsets: Blocks,
        asked: npt.NDArray[np.uint64],
        asked_spans: FloatArray,
        plus: FloatArray,
        none: np.float32,
    ) -> None:
        self._planes, self._rows_spans, self._offsets = planes, spans, offsets
        self._asked, self.spans, self._none = asked, asked_spans, none
        self.plus = plus

    def values(self, chosen: Chosen) -> Array:
        """Return float32 `[q, m]`: nearly no row's rank for a query is above it, with `plus`."""
        spans, offsets, *planes = (
            column.view(chosen) if isinstance(chosen, slice) else column.take(chosen)
            for column in (self._rows_spans, self._offsets, *self._planes)
        )
        bounds = np.empty((len(self._asked), len(spans)), np.float32)
        for asked, span, bound in zip(self._asked, self.spans, bounds, strict=True):
            for begin in range(0, len(spans), _SWEPT):
                here = slice(begin, begin + _SWEPT)
                differing = np.bitwise_count(planes[0][here] ^ asked[0]).astype(np.uint16)
                for plane, word in zip(planes[1:], asked[1:], strict=True):
                    differing += np.bitwise_count(plane[here] ^ word)
                np.subtract(self._none, differing, out=bound[here])
            bound *= spans
            bound *= span
            bound += offsets
        return bounds


def _signs(away: FloatArray) -> npt.NDArray[np.uint64]:
    """Return the signs of `[m, dimension]` as `[m, words]`, 64 in a word, the last filled up with 0."""
    packed = np.packbits(away > 0, axis=1)
    room = np.zeros((len(away), ceil(away.shape[1] / 64) * 8), np.uint8)
    room[:, : packed.shape[1]] = packed
    words: npt.NDArray[np.uint64] = room.view(np.uint64)
    return words
