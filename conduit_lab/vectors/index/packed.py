"""Packed: 8-bit rows as numkong packs them for products, several times as fast as over rows as they lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array
from conduit_lab.vectors.index.blocks import ROWS
from conduit_lab.vectors.index.bound import BoolArray, IntArray

PIECE = 4_096  # rows packed together: with many queries their products stay near the processor; a part of `ROWS`
_GROWTH = 8  # times as many rows in a slice as in the one before

Int8Array = npt.NDArray[np.int8]


class Packed:
    """Rows int8 `[n, width]` in pieces of `PIECE`, of which only the last may have fewer.

    numkong tells nothing of how it packs, so rows are read back by multiplying with the unit vectors.
    """

    def __init__(self, width: int, given: Array | None = None) -> None:
        self._unit = np.eye(width, dtype=np.int8)
        self._pieces: list[Any] = []
        self._last: Int8Array = np.empty((0, width), np.int8)  # the rows of a piece that is not full yet
        self._len = 0
        if given is not None:
            for begin in range(0, len(given), ROWS):
                self.append(np.asarray(given[begin : begin + ROWS]))

    def __len__(self) -> int:
        return self._len

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(int(piece.nbytes) for piece in self._pieces) + self._last.nbytes

    def append(self, rows: Array) -> None:
        """Add `rows` `[m, width]`."""
        if len(self._last):
            self._pieces.pop()
            rows = np.concatenate([self._last, rows])
        else:
            rows = rows.astype(np.int8)
        full = len(rows) // PIECE * PIECE
        self._len = len(self._pieces) * PIECE + len(rows)
        self._pieces += [_pack(rows[begin : begin + PIECE]) for begin in range(0, len(rows), PIECE)]
        self._last = rows[full:].copy()

    def replace(self, at: IntArray, rows: Array) -> None:
        """Overwrite the rows `at`."""
        for piece in np.unique(at // PIECE):
            here = at // PIECE == piece
            changed = self._read(piece)
            changed[at[here] - piece * PIECE] = rows[here]
            self._pieces[piece] = _pack(changed)
            if len(changed) < PIECE:
                self._last = changed

    def keep(self, alive: BoolArray) -> None:
        """Drop every row that is not `alive`; the others close up in their order."""
        pieces, kept = len(self._pieces), Packed(self._unit.shape[1])
        for piece in range(pieces):
            kept.append(self._read(piece)[alive[piece * PIECE : (piece + 1) * PIECE]])
        self._pieces, self._last, self._len = kept._pieces, kept._last, kept._len

    def rows(self) -> Int8Array:
        """Return all rows."""
        return np.concatenate([*(self._read(piece) for piece in range(len(self._pieces))), self._last[:0]])

    def slices(self, first: int, most: int) -> Iterator[slice]:
        """Yield slices of `first` rows, then of more and more, at most `most`; none across the edge of a block."""
        begin, size = 0, first
        while begin < self._len:
            end = min(begin + size, self._len, (begin // ROWS + 1) * ROWS)
            yield slice(begin, end)
            begin, size = end, min(most, size * _GROWTH)

    def dots(self, asked: Int8Array, chosen: slice) -> npt.NDArray[np.int32]:
        """Return the products int32 `[q, m]` of `asked` `[q, width]` with the rows of one of `slices`."""
        import numkong

        pieces = self._pieces[chosen.start // PIECE : -(-chosen.stop // PIECE)]
        each = [np.asarray(numkong.dots_packed(asked, piece)) for piece in pieces]
        return each[0] if len(each) == 1 else np.concatenate(each, axis=1)

    def _read(self, piece: int) -> Int8Array:
        import numkong

        rows: Int8Array = np.asarray(numkong.dots_packed(self._unit, self._pieces[piece])).T.astype(np.int8, order="C")
        return rows


def _pack(rows: Int8Array) -> Any:
    import numkong

    return numkong.dots_pack(np.ascontiguousarray(rows))
