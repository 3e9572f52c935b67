"""Packed codes: 8-bit rows in numkong's packed format, for products several times as fast."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array
from conduit_lab.vectors.arrays import IntArray
from conduit_lab.vectors.index.blocks import BLOCK_ROWS, block_slices

# Packed together, so products with many queries stay in the CPU cache. Divides `BLOCK_ROWS`.
PIECE_ROWS = 8_192
_MAX_PATCHED_ROWS = 256  # per piece, before it is packed again

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]


def can_pack() -> bool:
    """Return whether numkong is installed; otherwise the float32 rows are scanned."""
    return find_spec("numkong") is not None


class _Patch(NamedTuple):
    """Rows of a piece replaced since packing: their positions in it and new values."""

    at: IntArray
    rows: Int8Array
    packed: Any


class PackedCodes:
    """Rows int8 `[n, width]` in pieces of `PIECE_ROWS`; only the last piece may have fewer.

    Packed rows can neither be read nor changed. A replaced row is stored as a patch of its piece
    until the piece is `worn` and the caller `renew`s it.
    """

    def __init__(self, width: int, given: Array | None = None) -> None:
        self._pieces: list[Any] = []
        self._patches: dict[int, _Patch] = {}
        self._last: Int8Array = np.empty((0, width), np.int8)  # the rows of an incomplete piece
        for begin in range(0, 0 if given is None else len(given), BLOCK_ROWS):
            self.append(np.asarray(given)[begin : begin + BLOCK_ROWS])

    def __len__(self) -> int:
        return (len(self._pieces) - bool(len(self._last))) * PIECE_ROWS + len(self._last)

    @property
    def nbytes(self) -> int:
        """Size in memory in bytes."""
        patches = sum(
            int(patch.packed.nbytes) + patch.rows.nbytes for patch in self._patches.values()
        )
        return sum(int(piece.nbytes) for piece in self._pieces) + patches + self._last.nbytes

    def append(self, rows: Array) -> None:
        """Add `rows` `[m, width]`."""
        if len(self._last):
            self._pieces.pop()
            self._patches.pop(len(self._pieces), None)
        rows = np.concatenate([self._last, rows])
        self._pieces += [
            _pack(rows[begin : begin + PIECE_ROWS]) for begin in range(0, len(rows), PIECE_ROWS)
        ]
        self._last = rows[len(rows) // PIECE_ROWS * PIECE_ROWS :].copy()

    def replace(self, at: IntArray, rows: Array) -> None:
        """Overwrite the distinct rows `at`."""
        for piece in np.unique(at // PIECE_ROWS).tolist():
            here = at // PIECE_ROWS == piece
            places, new = at[here] - piece * PIECE_ROWS, rows[here]
            if piece == len(self) // PIECE_ROWS:
                self._last[places] = new
            if piece in self._patches:
                old = self._patches[piece]
                kept = ~np.isin(old.at, places)
                places = np.concatenate([old.at[kept], places])
                new = np.concatenate([old.rows[kept], new])
            self._patches[piece] = _Patch(places, new, _pack(new))

    def worn(self) -> list[slice]:
        """Return the slices of pieces with many replaced rows."""
        worn = [
            piece * PIECE_ROWS
            for piece, patch in self._patches.items()
            if len(patch.at) > _MAX_PATCHED_ROWS
        ]
        return [slice(begin, min(begin + PIECE_ROWS, len(self))) for begin in worn]

    def renew(self, piece: slice, rows: Array) -> None:
        """Repack one of the `worn` pieces from `rows`."""
        self._pieces[piece.start // PIECE_ROWS] = _pack(rows)
        del self._patches[piece.start // PIECE_ROWS]
        if len(rows) < PIECE_ROWS:
            self._last = rows.copy()

    def slices(self, size: int) -> Iterator[slice]:
        """Return slices of `size` rows.

        `size` is `PIECE_ROWS`, a multiple of it that divides `BLOCK_ROWS`, or `BLOCK_ROWS`.
        """
        return block_slices(0, len(self), size)

    def dots(self, asked: Int8Array, chosen: slice) -> Int32Array:
        """Return the products int32 `[q, m]` of `asked` `[q, width]` with one of the `slices`."""
        first = chosen.start // PIECE_ROWS
        each = [
            _dots(asked, piece) for piece in self._pieces[first : -(-chosen.stop // PIECE_ROWS)]
        ]
        for piece, patch in self._patches.items():
            if 0 <= piece - first < len(each):
                each[piece - first][:, patch.at] = _dots(asked, patch.packed)
        return each[0] if len(each) == 1 else np.concatenate(each, axis=1)


def _pack(rows: Int8Array) -> Any:
    import numkong

    return numkong.dots_pack(np.ascontiguousarray(rows))


def _dots(asked: Int8Array, packed: Any) -> Int32Array:
    import numkong

    return np.asarray(numkong.dots_packed(asked, packed))
