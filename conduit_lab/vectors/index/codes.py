"""Int8 codes: a quarter of the memory to scan, and a bound that makes the answer as sure as the float32 scan's."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.index.blocks import Blocks, chunks
from conduit_lab.vectors.index.bound import BoolArray, Chosen, IntArray
from conduit_lab.vectors.index.rows import Rows
from conduit_lab.vectors.index.scoring import Queries

_NEAR = 1_024  # rows that are coded at once: their copies stay in the processor's cache
_MORE = np.float32(1 + 1e-3)  # than float32 rounds off in the length of a rest
_ROUNDING = 32 * 2.0**-24  # of a product that was exact in whole numbers, scaled in float32


class Int8:
    """Each row x as int8 `c` and a float32 `scale`: x = scale (c + rest), where no rest is longer than `rest`.

    For cosine x is the row at length 1. With a query q = s c' + r coded alike, Cauchy and Schwarz give
    x·q <= scale s (c·c' + rest |c'|) + |x||r|: a true bound, whatever the data. On sentence embeddings it leaves
    about 20 rows to score for the best 10 of 100,000. Not for manhattan.
    """

    name = "int8"

    def __init__(self, rows: Rows, saved: Mapping[str, Array] | None = None, begin: int = 0) -> None:
        saved = saved or {}
        self._rows, self.begin = rows, begin
        self.codes = Blocks((rows.dimension,), np.int8, saved.get("codes"))
        self.scales = Blocks((), np.float32, saved.get("scales"))
        self.rest = float(saved["rest"][0]) if saved else 0.0

    def __len__(self) -> int:
        return len(self.scales)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.codes.nbytes + self.scales.nbytes

    def after(self) -> Int8:
        """Return codes for the rows after these, that `join` takes."""
        return Int8(self._rows, begin=self.begin + len(self))

    def join(self, more: Int8) -> None:
        """Take in the codes of the rows that follow."""
        self.codes.join(more.codes)
        self.scales.join(more.scales)
        self.rest = max(self.rest, more.rest)

    def extend(self, end: int, stop: threading.Event) -> None:
        """Code the rows up to `end`; give up when `stop` is set."""
        for chunk in chunks(self.begin + len(self), end, _NEAR):
            if stop.is_set():
                return
            codes, scales = self._code(chunk)
            self.codes.append(codes)
            self.scales.append(scales)

    def replace(self, at: IntArray) -> None:
        """Code the rows `at` again."""
        codes, scales = self._code(at)
        self.codes.replace(at, codes)
        self.scales.replace(at, scales)

    def keep(self, alive: BoolArray) -> None:
        """Drop every row that is not `alive`."""
        self.codes.keep(alive)
        self.scales.keep(alive)

    def save(self) -> dict[str, Array]:
        """Return the arrays that make it again."""
        every = np.arange(len(self))
        codes, scales = self.codes.take(every), self.scales.take(every)
        return {"codes": codes, "scales": scales, "rest": np.array([self.rest])}

    def bound(self, queries: Queries) -> Int8Bound:
        """Return how to bound the ranks of rows for some queries."""
        return Int8Bound(self._rows, self, queries)

    def _code(self, chosen: Chosen) -> tuple[npt.NDArray[np.int8], FloatArray]:
        rows = self._rows.get(chosen)
        codes, scales = _coded(rows)
        rest = rows / scales[:, np.newaxis] - codes
        self.rest = max(self.rest, float(_length(rest).max(initial=0.0) * _MORE))
        return codes, scales / self._rows.length(chosen) if self._rows.metric == "cosine" else scales


class Int8Bound:
    """The bound for some queries."""

    def __init__(self, rows: Rows, int8: Int8, queries: Queries) -> None:
        import numkong

        self._rows, self._int8 = rows, int8
        self._asked, self.times = _coded(queries.near)
        rest = queries.near - self._asked * self.times[:, np.newaxis]
        # What |x| is multiplied with: the query's own rest, and the rounding of the product.
        self.plus = (_length(rest) * _MORE + _ROUNDING * queries.reach).astype(np.float32)
        self._more = (_length(self._asked.astype(np.float32)) * np.float32(int8.rest) * _MORE)[:, np.newaxis]
        # For one query `cdist` is faster: it reads ahead.
        self._packed = numkong.dots_pack(self._asked) if len(queries) > 1 else None
        if rows.metric != "cosine":  # |x| is not 1
            self._scales, self._rests = self.times[:, np.newaxis], self.plus[:, np.newaxis]
            self.times, self.plus = np.ones_like(self.times), np.zeros_like(self.plus)

    def __call__(self, chosen: Chosen) -> Array:
        """Return float32 `[q, m]`: no row's rank for a query is above it, `times` and `plus` applied."""
        import numkong

        if isinstance(chosen, slice):
            codes, scales = self._int8.codes.view(chosen), self._int8.scales.view(chosen)
        else:
            codes, scales = self._int8.codes.take(chosen), self._int8.scales.take(chosen)
        if self._packed is None:
            bounds = np.asarray(numkong.cdist(self._asked, codes, "dot")).astype(np.float32)
        else:
            bounds = np.asarray(numkong.dots_packed(codes, self._packed)).astype(np.float32).T
        bounds += self._more
        bounds *= scales
        if self._rows.metric != "cosine":
            length = self._rows.length(chosen)
            bounds *= self._scales
            bounds += self._rests * length
            if self._rows.metric == "l2":
                bounds -= np.square(length) * np.float32(0.5 - 2.0**-20)
        return bounds


def _coded(rows: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Return rows float32 `[m, dimension]` as int8 and the scale of each `[m]`: the greatest value becomes 127."""
    scales = np.abs(rows).max(axis=1) / np.float32(127)
    scales[scales == 0] = 1
    return np.rint(rows / scales[:, np.newaxis]).astype(np.int8), scales


def _length(rows: FloatArray) -> FloatArray:
    length: FloatArray = np.sqrt(np.vecdot(rows, rows))
    return length
