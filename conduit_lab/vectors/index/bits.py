"""1-bit codes: one bit per dimension, for very large stores; an estimate, verified on the data."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from math import ceil

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.arrays import BoolArray, IntArray
from conduit_lab.vectors.index.blocks import Blocks, block_slices
from conduit_lab.vectors.index.bound import RowSelection, UpperBound
from conduit_lab.vectors.index.rows import VectorRows
from conduit_lab.vectors.index.scan import RowMask, top_rows
from conduit_lab.vectors.index.scoring import Queries

_CODED_ROWS = 1_024  # at once, so their copies stay in the CPU cache
_COMPARED_ROWS = 32_768  # at once, likewise
_MEAN_ROWS = 8_192  # sample size for the mean
_PROBES = 48  # rows used to measure the margin, and neighbours per row
_NEIGHBOURS = 10
_DEVIATIONS = 2.35  # of the number of differing signs: covers 99 % of neighbours
# For correlated signs: the share of neighbours to cover, and a factor on the measured margin.
_SHARE, _SAFETY = 0.99, 1.25
_USEFUL = 32  # codes that leave more than one row in this many as candidates do not pay off


class BitCodes:
    """The signs of each row x minus the rows' mean m, with |x - m| and x·m in float32.

    For two vectors at an angle, the share of differing signs is about angle / pi (Goemans and
    Williamson 1995), so x·q is about |x - m||q - m| (pi/2 - pi differing / dimension) + x·m + q·m -
    m·m. The number of differing signs varies by up to sqrt(dimension) / 2; subtracting `margin`
    from it gives a bound that holds for nearly every rank, however far away the query's neighbours
    are. The margin is measured on rows of the store, and is 0 if these codes are useless. For
    cosine x and q have length 1. Not for manhattan.
    """

    name = "1-bit"

    def __init__(
        self, rows: VectorRows, saved: Mapping[str, Array] | None = None, begin: int = 0
    ) -> None:
        saved = saved or {}
        self._rows, self.begin = rows, begin
        self._mean: FloatArray | None = saved.get("mean")
        # A plane holds 64 dimensions of every row and is compared at memory speed.
        planes = saved["planes"] if "planes" in saved else [None] * ceil(rows.dimension / 64)
        self._planes = [Blocks((), np.uint64, plane) for plane in planes]
        self._spans = Blocks((), np.float32, saved.get("spans"))
        self._offsets = Blocks((), np.float32, saved.get("offsets"))
        self.margin = float(saved["margin"][0]) if "margin" in saved else 0.0

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def nbytes(self) -> int:
        """Size in memory in bytes."""
        return sum(column.nbytes for column in self._columns())

    def after(self) -> BitCodes:
        """Return empty codes for the rows after these, to fill and `join`."""
        assert self._mean is not None
        return BitCodes(
            self._rows,
            {"mean": self._mean, "margin": np.array([self.margin])},
            self.begin + len(self),
        )

    def join(self, more: BitCodes) -> None:
        """Append the codes of the next rows."""
        for column, other in zip(self._columns(), more._columns(), strict=True):
            column.join(other)

    def extend(self, end: int, stop: threading.Event) -> None:
        """Encode the rows up to `end`; at first measure the margin. Return early on `stop`."""
        first = self._mean is None
        if first:
            self._mean = self._rows.prepared(self._rows.sample(end, _MEAN_ROWS)).mean(axis=0)
        for chunk in block_slices(self.begin + len(self), end, _CODED_ROWS):
            if stop.is_set():
                return
            for column, rows in zip(self._columns(), self._code(chunk), strict=True):
                column.append(rows)
        if first:
            self.margin = self._measured()

    def replace(self, at: IntArray) -> None:
        """Re-encode the rows `at`."""
        for column, rows in zip(self._columns(), self._code(at), strict=True):
            column.replace(at, rows)

    def keep(self, live: BoolArray) -> None:
        """Drop every row that is not `live`."""
        for column in self._columns():
            column.keep(live)

    def save(self) -> dict[str, Array]:
        """Return the arrays that restore the codes."""
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
        """Return a bound for some queries, which holds for nearly every row."""
        assert self._mean is not None
        away = queries.prepared - self._mean
        spans = np.sqrt(np.vecdot(away, away)) * np.float32(np.pi / self._rows.dimension)
        slack = np.vecdot(queries.prepared, self._mean) - np.vecdot(self._mean, self._mean)
        middle = np.float32(self._rows.dimension / 2 + self.margin)
        columns = self._planes, self._spans, self._offsets
        return BitsBound(*columns, _signs(away), spans, slack, middle)

    def _columns(self) -> tuple[Blocks, ...]:
        return (*self._planes, self._spans, self._offsets)

    def _code(self, chosen: RowSelection) -> tuple[Array, ...]:
        assert self._mean is not None
        near = self._rows.prepared(chosen)
        away = near - self._mean
        offsets = np.vecdot(near, self._mean)
        if self._rows.metric == "l2":
            offsets -= np.square(self._rows.length(chosen)) / 2
        return (*_signs(away).T, np.sqrt(np.vecdot(away, away)), offsets)

    def _measured(self) -> float:
        """Return the margin that finds the neighbours of some rows; 0 with too many candidates."""
        probes = self._rows.sample(len(self), _PROBES)
        queries = Queries(self._rows.get(probes), self._rows.metric)
        every = RowMask(None, len(self), self._rows.outliers[self._rows.outliers < len(self)])
        exact = self._rows.bound(queries)
        near = top_rows(
            every.parts(exact, 0, len(self), len(probes)), exact, _NEIGHBOURS + 1, every
        )
        assert near is not None
        query = np.repeat(np.arange(len(probes)), [len(rows) for rows, _ in near.found])
        neighbour = np.concatenate([rows for rows, _ in near.found])
        rank = queries.ranks(np.concatenate([scores for _, scores in near.found]), query)
        row, where = np.unique(neighbour, return_inverse=True)
        bound = self.bound(queries)
        estimate = bound.values(row)[query, where] + bound.slack[query]
        sign = bound.spans[query] * self._spans.take(neighbour)  # the weight of one sign
        other = (neighbour != probes[query]) & (sign > 0)
        missing = (rank - estimate)[other] / sign[other]
        margin = _DEVIATIONS * np.sqrt(self._rows.dimension) / 2
        if len(missing):
            margin = max(margin, _SAFETY * float(np.quantile(missing, _SHARE)))

        self.margin = margin
        bound = self.bound(queries)
        lowest = np.full(len(probes), np.inf)  # rank of each probe's last neighbour
        np.minimum.at(lowest, query, rank)
        left = np.zeros(len(probes))
        for _, chunk in every.parts(bound, 0, len(self), len(probes)):
            left += np.bincount(bound.above(chunk, lowest).query, minlength=len(probes))
        return margin if np.median(left) * _USEFUL <= len(self) else 0.0


class BitsBound(UpperBound):
    """The bound for some queries, which hardly any rank exceeds."""

    def __init__(
        self,
        planes: list[Blocks],
        spans: Blocks,
        offsets: Blocks,
        asked: npt.NDArray[np.uint64],
        asked_spans: FloatArray,
        slack: FloatArray,
        middle: np.float32,
    ) -> None:
        self._planes, self._rows_spans, self._offsets = planes, spans, offsets
        self._asked, self.spans, self._middle = asked, asked_spans, middle
        self.slack = slack

    def values(self, chosen: RowSelection) -> Array:
        """Return float32 `[q, m]`: hardly any rank exceeds it by more than `slack`."""
        spans, offsets, *planes = (
            column.view(chosen) if isinstance(chosen, slice) else column.take(chosen)
            for column in (self._rows_spans, self._offsets, *self._planes)
        )
        bounds = np.empty((len(self._asked), len(spans)), np.float32)
        for asked, span, bound in zip(self._asked, self.spans, bounds, strict=True):
            for begin in range(0, len(spans), _COMPARED_ROWS):
                here = slice(begin, begin + _COMPARED_ROWS)
                differing = np.bitwise_count(planes[0][here] ^ asked[0]).astype(np.uint16)
                for plane, word in zip(planes[1:], asked[1:], strict=True):
                    differing += np.bitwise_count(plane[here] ^ word)
                np.subtract(self._middle, differing, out=bound[here])
            bound *= spans
            bound *= span
            bound += offsets
        return bounds


def _signs(away: FloatArray) -> npt.NDArray[np.uint64]:
    """Return the signs of `[m, dimension]` as `[m, words]`, 64 per word, padded with 0."""
    packed = np.packbits(away > 0, axis=1)
    room = np.zeros((len(away), ceil(away.shape[1] / 64) * 8), np.uint8)
    room[:, : packed.shape[1]] = packed
    words: npt.NDArray[np.uint64] = room.view(np.uint64)
    return words
