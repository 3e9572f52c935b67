"""Int8 codes: scan a quarter or an eighth of the bytes, with the results of a float32 scan."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import numpy as np

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.arrays import Float64Array, IntArray
from conduit_lab.vectors.index.blocks import BLOCK_ROWS, Blocks, block_slices
from conduit_lab.vectors.index.bound import Pairs, RowSelection, UpperBound
from conduit_lab.vectors.index.packed import PIECE_ROWS, Int8Array, Int32Array, PackedCodes
from conduit_lab.vectors.index.principal_axes import PrincipalAxes, float32_lengths
from conduit_lab.vectors.index.rows import VectorRows
from conduit_lab.vectors.index.scoring import Queries

_CODED_ROWS = 1_024  # at once, so their copies stay in the CPU cache
# Below this number of rows, codes of all dimensions fit into the cache; from it, axes are used.
AXES_ROWS = 32_768
_OUTGROWN = 4  # rebuild codes at this multiple of the rows they were first built for
_AXES_SAMPLE_ROWS = 4_096
_COMMON = 2  # the shared scale is at most this multiple of the median of rows coded together
_ROUND_UP = np.float32(1 + 1e-3)  # covers float32 rounding of a residual's length
_SQUARE_ERROR = np.float32(2.0**-20)  # relative; covers float32 rounding of a squared length
_ROUNDING = 32 * 2.0**-24  # of an exact product of integers, scaled in float32


class Int8Codes:
    """Each row as int8 `c` and a float32 `scale`: x = scale (c + residual).

    `residual` is an upper bound on the residuals' lengths. x is the row, for cosine scaled to
    length 1, or its values along `PrincipalAxes` if those are fewer. With a query q = s c' + r
    encoded the same way, the Cauchy-Schwarz inequality gives x·q <= scale s (c·c' + residual |c'|)
    + |x||r|: a true bound, whatever the data. For the best 10 of 30,000 sentence embeddings it
    leaves a median of 31 candidates; along axes, at half the bytes, 65 of 100,000, and 300 or more
    for a query in ten. Not for manhattan.
    """

    name = "int8"

    def __init__(
        self, rows: VectorRows, saved: Mapping[str, Array] | None = None, begin: int = 0
    ) -> None:
        saved = saved or {}
        self._rows, self.begin = rows, begin
        self.axes = PrincipalAxes(np.asarray(saved["axes"])) if "axes" in saved else None
        self.codes: PackedCodes | Blocks
        if begin:  # plain rows, to be appended to earlier codes
            self.codes = Blocks((self._width,), np.int8)
        else:
            self.codes = PackedCodes(self._width, saved.get("codes"))
        self.scales = Blocks((), np.float32, saved.get("scales"))
        self.residual = float(saved["rest"][0]) if "rest" in saved else 0.0
        self._usual = self.scales.take(np.array([0]))[0] if len(self) else np.float32(1)
        self.fitted = begin + len(self)  # rows for which the codes were first built

    def __len__(self) -> int:
        return len(self.scales)

    @property
    def nbytes(self) -> int:
        """Size in memory in bytes."""
        return self.codes.nbytes + self.scales.nbytes

    @property
    def _width(self) -> int:
        return self._rows.dimension if self.axes is None else len(self.axes.rotated)

    def outgrown(self, rows: int) -> bool:
        """Return whether this many rows need codes along new axes."""
        return rows >= max(AXES_ROWS, _OUTGROWN * self.fitted)

    def after(self) -> Int8Codes:
        """Return empty codes for the rows after these, to fill and `join`."""
        more = Int8Codes(self._rows, self._axes_saved(), self.begin + len(self))
        more._usual = self._usual
        return more

    def join(self, more: Int8Codes) -> None:
        """Append the codes of the next rows."""
        assert isinstance(more.codes, Blocks)
        for chunk in block_slices(0, len(more), BLOCK_ROWS):
            self.codes.append(more.codes.view(chunk))
        self.scales.join(more.scales)
        self.residual = max(self.residual, more.residual)

    def extend(self, end: int, stop: threading.Event) -> None:
        """Encode the rows up to `end`; choose the axes the first time. Return early on `stop`."""
        if self.begin == len(self) == 0 and self.axes is None:
            self.fitted = end
            if end >= AXES_ROWS:
                self.axes = PrincipalAxes.along(
                    self._rows.prepared(self._rows.sample(end, _AXES_SAMPLE_ROWS))
                )
            self.codes = PackedCodes(self._width)
        for piece in block_slices(self.begin + len(self), end, PIECE_ROWS):
            if stop.is_set():
                return
            codes, scales = self._code_piece(piece)
            self.codes.append(codes)
            self.scales.append(scales)

    def replace(self, at: IntArray) -> None:
        """Re-encode the rows `at`."""
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
        """Return the arrays that restore the codes."""
        plain = Int8Codes(self._rows, self._axes_saved())
        each = [plain._code_piece(piece) for piece in block_slices(0, len(self), PIECE_ROWS)]
        codes, scales = (np.concatenate(column) for column in zip(*each, strict=True))
        return {
            "codes": codes,
            "scales": scales,
            "rest": np.array([plain.residual]),
            **self._axes_saved(),
        }

    def slices(self, queries: int) -> Iterator[slice]:
        """Yield the rows in slices that a bound for this many queries accepts."""
        return self._packed.slices(BLOCK_ROWS if queries == 1 else PIECE_ROWS)

    def bound(self, queries: Queries) -> Int8Bound:
        """Return the bound on the ranks of rows for some queries."""
        return Int8Bound(self._rows, self, queries)

    def dots(self, asked: Int8Array, chosen: slice) -> Int32Array:
        """Return the products int32 `[q, m]` of encoded queries with one of the slices."""
        return self._packed.dots(asked, chosen)

    @property
    def _packed(self) -> PackedCodes:
        assert isinstance(self.codes, PackedCodes)
        return self.codes

    def _axes_saved(self) -> dict[str, Array]:
        return {} if self.axes is None else {"axes": self.axes.rotated}

    def _code_piece(self, piece: slice) -> tuple[Int8Array, FloatArray]:
        each = [self._code(chunk) for chunk in block_slices(piece.start, piece.stop, _CODED_ROWS)]
        codes, scales = zip(*each, strict=True)
        return np.concatenate(codes), np.concatenate(scales)

    def _code(self, chosen: RowSelection) -> tuple[Int8Array, FloatArray]:
        near = self._rows.prepared(chosen)
        near = near if self.axes is None else self.axes(near)
        scales = _scales(near)
        # One scale for all, so products can be compared as integers, unless it is far too large for
        # most. Zero vectors take the scale of the others.
        if len(some := scales[scales > 0]):
            self._usual = min(some.max(), _COMMON * np.median(some))
        scales = np.maximum(scales, self._usual)
        codes = _coded(near, scales)
        residuals = near / scales[:, np.newaxis] - codes
        longest = float(float32_lengths(residuals).max(initial=0.0) * _ROUND_UP)
        self.residual = max(self.residual, longest)
        return codes, scales


class Int8Bound(UpperBound):
    """The bound for some queries; it accepts the slices of the codes."""

    def __init__(self, rows: VectorRows, int8: Int8Codes, queries: Queries) -> None:
        self._rows, self._int8 = rows, int8
        near = queries.prepared if int8.axes is None else int8.axes(queries.prepared)
        self._scales = _scales(near)
        self._scales[self._scales == 0] = 1
        self._asked = _coded(near, self._scales)
        residuals = near - self._asked * self._scales[:, np.newaxis]
        # Factors of |x|: the query's residual, and the rounding of the products.
        rounding = _ROUNDING if int8.axes is None else _ROUNDING + int8.axes.tolerance
        self.slack = (float32_lengths(residuals) * _ROUND_UP + rounding * queries.reach).astype(
            np.float32
        )
        lengths = float32_lengths(self._asked.astype(np.float32))
        self._residual = lengths * np.float32(int8.residual) * _ROUND_UP
        if rows.metric != "cosine":  # |x| is not 1
            self._factors, self.slack = self.slack[:, np.newaxis], np.zeros_like(self.slack)

    def values(self, chosen: RowSelection) -> Array:
        """Return float32 `[q, m]`: no rank exceeds it by more than `slack`."""
        assert isinstance(chosen, slice)
        values = self._int8.dots(self._asked, chosen).astype(np.float32)
        values += self._residual[:, np.newaxis]
        values *= self._scales[:, np.newaxis]
        values *= self._int8.scales.view(chosen)
        if self._rows.metric != "cosine":
            lengths = self._rows.length(chosen)
            values += self._factors * lengths
            if self._rows.metric == "l2":
                values -= np.square(lengths) * (np.float32(0.5) - _SQUARE_ERROR)
        return values

    def looseness(self, chosen: RowSelection) -> Array | None:
        """Return twice the terms for residuals and rounding; None along axes (unknown)."""
        if self._int8.axes is not None:
            return None
        assert isinstance(chosen, slice)
        scale = self._rows.usual(chosen, self._int8.scales.view(chosen)).max(initial=0)
        loose: FloatArray = 2 * _ROUND_UP * self._residual * self._scales * scale + self.slack
        if self._rows.metric != "cosine":
            longest = self._rows.usual(chosen, self._rows.length(chosen)).max(initial=0)
            loose += 2 * _ROUND_UP * self._factors[:, 0] * longest
            if self._rows.metric == "l2":
                loose += 2 * _SQUARE_ERROR * np.square(longest)
        return loose

    def above(self, chosen: RowSelection, threshold: Float64Array) -> Pairs:
        """Return the pairs that may reach `threshold`.

        If rows have similar scales, their products are compared as integers, with the threshold
        implied by the largest scale.
        """
        assert isinstance(chosen, slice)
        scales = self._int8.scales.view(chosen)
        greatest = scales.max()
        if (
            self._rows.metric != "cosine"
            or greatest > _COMMON * scales.min()
            or not (threshold > self.slack).all()
        ):
            return super().above(chosen, threshold)
        needed = (threshold - self.slack) / (self._scales * greatest) - self._residual
        needed = np.floor(needed * (1 - np.sign(needed) * 2.0**-20)).astype(np.int32)
        dots = self._int8.dots(self._asked, chosen)
        query, row, at = Pairs.of(dots >= needed[:, np.newaxis], chosen)
        values = (dots[query, at] + self._residual[query]) * self._scales[query] * scales[at]
        return Pairs(query, row, values + self.slack[query])


def _scales(rows: FloatArray) -> FloatArray:
    """Return for each row `[m, width]` the scale that maps its largest magnitude to 127."""
    scales: FloatArray = np.abs(rows).max(axis=1) / np.float32(127)
    return scales


def _coded(rows: FloatArray, scales: FloatArray) -> Int8Array:
    codes: Int8Array = np.rint(rows / scales[:, np.newaxis]).astype(np.int8)
    return codes
