"""Int8 codes: a quarter of the bytes to scan, or half of that, and an answer as sure as that of the float32 scan."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.index.blocks import ROWS, Blocks, chunks
from conduit_lab.vectors.index.bound import Bound, Chosen, IntArray, Pairs
from conduit_lab.vectors.index.packed import PIECE, Packed
from conduit_lab.vectors.index.principal_axes import Axes, length
from conduit_lab.vectors.index.rows import Rows
from conduit_lab.vectors.index.scoring import Queries

_NEAR = 1_024  # rows that are coded at once: their copies stay in the processor's cache
# from so many rows on they are coded along axes: whole, the codes of fewer stay in the cache
AXES_ROWS = 32_768
_OUTGROWN = 4  # times the rows that codes were first made for: they are made anew
_AXES_OF = 4_096  # rows that the axes are chosen by
_COMMON = 2  # times the median scale of rows coded at once, at most, is the scale of all
_MORE = np.float32(1 + 1e-3)  # than float32 rounds off in the length of a rest
_SQUARE = np.float32(
    2.0**-20
)  # of a squared length, less than which float32 rounds off in half of it
_ROUNDING = 32 * 2.0**-24  # of a product that was exact in whole numbers, scaled in float32


class Int8:
    """Each row as int8 `c` and a float32 `scale`: x = scale (c + rest), where no rest is longer
    than `rest`.

    x is the row, for cosine at length 1; or what `Axes` makes of it where those are fewer values.
    With a query q = s c' + r coded alike, Cauchy and Schwarz give x·q <= scale s (c·c' + rest |c'|)
    + |x||r|: a true bound, whatever the data. For the best 10 of 30,000 sentence embeddings it
    leaves 31 rows to look at in the median; along axes, which are half the bytes, 65 for those of
    100,000, and 300 or more for a query in ten. Not for manhattan.
    """

    name = "int8"

    def __init__(
        self, rows: Rows, saved: Mapping[str, Array] | None = None, begin: int = 0
    ) -> None:
        saved = saved or {}
        self._rows, self.begin = rows, begin
        self.axes = Axes(np.asarray(saved["axes"])) if "axes" in saved else None
        self.codes: Packed | Blocks  # as they are where they will be joined to others
        self.codes = (
            Blocks((self._width,), np.int8) if begin else Packed(self._width, saved.get("codes"))
        )
        self.scales = Blocks((), np.float32, saved.get("scales"))
        self.rest = float(saved["rest"][0]) if "rest" in saved else 0.0
        self._usual = self.scales.take(np.array([0]))[0] if len(self) else np.float32(1)
        self.fitted = begin + len(self)  # rows that the codes were first made for

    def __len__(self) -> int:
        return len(self.scales)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.codes.nbytes + self.scales.nbytes

    @property
    def _width(self) -> int:
        return self._rows.dimension if self.axes is None else len(self.axes.turned)

    def outgrown(self, rows: int) -> bool:
        """Tell whether so many rows call for axes of their own."""
        return rows >= max(AXES_ROWS, _OUTGROWN * self.fitted)

    def after(self) -> Int8:
        """Return codes for the rows after these, that `join` takes."""
        more = Int8(self._rows, self._axes_saved(), self.begin + len(self))
        more._usual = self._usual
        return more

    def join(self, more: Int8) -> None:
        """Take in the codes of the rows that follow."""
        assert isinstance(more.codes, Blocks)
        for chunk in chunks(0, len(more), ROWS):
            self.codes.append(more.codes.view(chunk))
        self.scales.join(more.scales)
        self.rest = max(self.rest, more.rest)

    def extend(self, end: int, stop: threading.Event) -> None:
        """Code the rows up to `end`, the first ones along axes of their own; give up when `stop` is set."""
        if self.begin == len(self) == 0 and self.axes is None:
            self.fitted = end
            if end >= AXES_ROWS:
                self.axes = Axes.along(self._rows.near(self._rows.sample(end, _AXES_OF)))
            self.codes = Packed(self._width)
        for piece in chunks(self.begin + len(self), end, PIECE):
            if stop.is_set():
                return
            codes, scales = self._code_piece(piece)
            self.codes.append(codes)
            self.scales.append(scales)

    def replace(self, at: IntArray) -> None:
        """Code the rows `at` again."""
        if not len(at):
            return
        codes, scales = self._code(at)
        self._packed.replace(at, codes)
        self.scales.replace(at, scales)
        for piece in self._packed.worn():
            codes, scales = self._code_piece(piece)
            self._packed.renew(piece, codes)
            self.scales.replace(np.arange(piece.start, piece.stop), scales)

    def save(self) -> dict[str, Array]:
        """Return the arrays that make it again."""
        made = Int8(self._rows, self._axes_saved())
        each = [made._code_piece(piece) for piece in chunks(0, len(self), PIECE)]
        codes, scales = (np.concatenate(column) for column in zip(*each, strict=True))
        return {
            "codes": codes,
            "scales": scales,
            "rest": np.array([made.rest]),
            **self._axes_saved(),
        }

    def slices(self, queries: int) -> Iterator[slice]:
        """Yield the rows in slices that a bound for so many queries takes."""
        return self._packed.slices(ROWS if queries == 1 else PIECE)

    def bound(self, queries: Queries) -> Int8Bound:
        """Return how to bound the ranks of rows for some queries."""
        return Int8Bound(self._rows, self, queries)

    def dots(self, asked: npt.NDArray[np.int8], chosen: slice) -> npt.NDArray[np.int32]:
        """Return the products int32 `[q, m]` of coded queries with one of the slices."""
        return self._packed.dots(asked, chosen)

    @property
    def _packed(self) -> Packed:
        assert isinstance(self.codes, Packed)
        return self.codes

    def _axes_saved(self) -> dict[str, Array]:
        return {} if self.axes is None else {"axes": self.axes.turned}

    def _code_piece(self, piece: slice) -> tuple[npt.NDArray[np.int8], FloatArray]:
        each = [self._code(chunk) for chunk in chunks(piece.start, piece.stop, _NEAR)]
        return np.concatenate([codes for codes, _ in each]), np.concatenate(
            [scales for _, scales in each]
        )

    def _code(self, chosen: Chosen) -> tuple[npt.NDArray[np.int8], FloatArray]:
        near = self._rows.near(chosen)
        near = near if self.axes is None else self.axes(near)
        scales = _scales(near)
        # One scale for all, so that their products are compared as the whole numbers they are, but
        # none that is much too great for most. Zero vectors take the others' scale.
        if len(some := scales[scales > 0]):
            self._usual = min(some.max(), _COMMON * np.median(some))
        scales = np.maximum(scales, self._usual)
        codes = _coded(near, scales)
        rest = near / scales[:, np.newaxis] - codes
        self.rest = max(self.rest, float(length(rest).max(initial=0.0) * _MORE))
        return codes, scales


class Int8Bound(Bound):
    """The bound for some queries; it takes the slices of the codes."""

    def __init__(self, rows: Rows, int8: Int8, queries: Queries) -> None:
        self._rows, self._int8 = rows, int8
        near = queries.near if int8.axes is None else int8.axes(queries.near)
        self._scales = _scales(near)
        self._scales[self._scales == 0] = 1
        self._asked = _coded(near, self._scales)
        rest = near - self._asked * self._scales[:, np.newaxis]
        # What |x| is multiplied with: the query's own rest, and the rounding of the products.
        rounding = _ROUNDING if int8.axes is None else _ROUNDING + int8.axes.slack
        self.plus = (length(rest) * _MORE + rounding * queries.reach).astype(np.float32)
        self._more = length(self._asked.astype(np.float32)) * np.float32(int8.rest) * _MORE
        if rows.metric != "cosine":  # |x| is not 1
            self._rests, self.plus = self.plus[:, np.newaxis], np.zeros_like(self.plus)

    def values(self, chosen: Chosen) -> Array:
        """Return float32 `[q, m]`: no row's rank for a query is above it, with `plus`."""
        assert isinstance(chosen, slice)
        values = self._int8.dots(self._asked, chosen).astype(np.float32)
        values += self._more[:, np.newaxis]
        values *= self._scales[:, np.newaxis]
        values *= self._int8.scales.view(chosen)
        if self._rows.metric != "cosine":
            lengths = self._rows.length(chosen)
            values += self._rests * lengths
            if self._rows.metric == "l2":
                values -= np.square(lengths) * (np.float32(0.5) - _SQUARE)
        return values

    def short(self, chosen: Chosen) -> Array | None:
        """Return twice what was added for the rests and for rounding; along axes nobody knows."""
        if self._int8.axes is not None:
            return None
        assert isinstance(chosen, slice)
        scale = self._rows.usual(chosen, self._int8.scales.view(chosen)).max(initial=0)
        short: FloatArray = 2 * _MORE * self._more * self._scales * scale + self.plus
        if self._rows.metric != "cosine":
            longest = self._rows.usual(chosen, self._rows.length(chosen)).max(initial=0)
            short += 2 * _MORE * self._rests[:, 0] * longest
            if self._rows.metric == "l2":
                short += 2 * _SQUARE * np.square(longest)
        return short

    def above(self, chosen: Chosen, least: npt.NDArray[np.float64]) -> Pairs:
        """Return the pairs that may reach `least`.

        Where the rows have much the same scale, their products are compared as the whole numbers
        they are, with what the greatest scale asks for.
        """
        assert isinstance(chosen, slice)
        scales = self._int8.scales.view(chosen)
        greatest = scales.max()
        if (
            self._rows.metric != "cosine"
            or greatest > _COMMON * scales.min()
            or not (least > self.plus).all()
        ):
            return super().above(chosen, least)
        wanted = (least - self.plus) / (self._scales * greatest) - self._more
        wanted = np.floor(wanted * (1 - np.sign(wanted) * 2.0**-20)).astype(np.int32)
        dots = self._int8.dots(self._asked, chosen)
        query, row, at = Pairs.of(dots >= wanted[:, np.newaxis], chosen)
        bound = (dots[query, at] + self._more[query]) * self._scales[query] * scales[
            at
        ] + self.plus[query]
        return Pairs(query, row, bound)


def _scales(rows: FloatArray) -> FloatArray:
    """Return the scale of each row float32 `[m, width]` as int8, which makes 127 of its greatest value; 0 for zeros."""
    scales: FloatArray = np.abs(rows).max(axis=1) / np.float32(127)
    return scales


def _coded(rows: FloatArray, scales: FloatArray) -> npt.NDArray[np.int8]:
    codes: npt.NDArray[np.int8] = np.rint(rows / scales[:, np.newaxis]).astype(np.int8)
    return codes
