"""Packed: 8-bit rows as numkong packs them for products, several times as fast as over rows as they lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array
from conduit_lab.vectors.index.blocks import ROWS, chunks
from conduit_lab.vectors.index.bound import IntArray

# rows packed together: with many queries their products stay near the processor; a part of `ROWS`
PIECE = 8_192
_PATCHED = 256  # rows of a piece that may be others than when it was packed

Int8Array = npt.NDArray[np.int8]


class _Patch(NamedTuple):
    """Rows of a piece that were replaced since: their places in it, and what they are now."""

    at: IntArray
    rows: Int8Array
    packed: Any


class Packed:
    """Rows int8 `[n, width]` in pieces of `PIECE`, of which only the last may have fewer.

    What is packed can neither be read nor changed. A replaced row is kept beside its piece, until
    the piece is `worn` and whoever knows its rows packs it anew.
    """

    def __init__(self, width: int, given: Array | None = None) -> None:
        self._pieces: list[Any] = []
        self._patches: dict[int, _Patch] = {}
        self._last: Int8Array = np.empty(
            (0, width), np.int8
        )  # the rows of a piece that is not full yet
        for begin in range(0, 0 if given is None else len(given), ROWS):
            self.append(np.asarray(given)[begin : begin + ROWS])

    def __len__(self) -> int:
        return (len(self._pieces) - bool(len(self._last))) * PIECE + len(self._last)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
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
        self._pieces += [_pack(rows[begin : begin + PIECE]) for begin in range(0, len(rows), PIECE)]
        self._last = rows[len(rows) // PIECE * PIECE :].copy()

    def replace(self, at: IntArray, rows: Array) -> None:
        """Overwrite the rows `at`, none of which comes twice."""
        for piece in np.unique(at // PIECE).tolist():
            here = at // PIECE == piece
            places, new = at[here] - piece * PIECE, rows[here]
            if piece == len(self) // PIECE:
                self._last[places] = new
            if piece in self._patches:
                old = self._patches[piece]
                kept = ~np.isin(old.at, places)
                places, new = (
                    np.concatenate([old.at[kept], places]),
                    np.concatenate([old.rows[kept], new]),
                )
            self._patches[piece] = _Patch(places, new, _pack(new))

    def worn(self) -> list[slice]:
        """Return the rows of pieces of which many were replaced."""
        worn = [piece * PIECE for piece, patch in self._patches.items() if len(patch.at) > _PATCHED]
        return [slice(begin, min(begin + PIECE, len(self))) for begin in worn]

    def renew(self, piece: slice, rows: Array) -> None:
        """Pack one of the `worn` anew, of these `rows`."""
        self._pieces[piece.start // PIECE] = _pack(rows)
        del self._patches[piece.start // PIECE]
        if len(rows) < PIECE:
            self._last = rows.copy()

    def slices(self, size: int) -> Iterator[slice]:
        """Return slices of `size` rows: `PIECE`, a multiple of it that divides `ROWS`, or `ROWS`."""
        return chunks(0, len(self), size)

    def dots(self, asked: Int8Array, chosen: slice) -> npt.NDArray[np.int32]:
        """Return the products int32 `[q, m]` of `asked` `[q, width]` with the rows of one of `slices`."""
        first = chosen.start // PIECE
        each = [_dots(asked, piece) for piece in self._pieces[first : -(-chosen.stop // PIECE)]]
        for piece, patch in self._patches.items():
            if 0 <= piece - first < len(each):
                each[piece - first][:, patch.at] = _dots(asked, patch.packed)
        return each[0] if len(each) == 1 else np.concatenate(each, axis=1)


def _pack(rows: Int8Array) -> Any:
    import numkong

    return numkong.dots_pack(np.ascontiguousarray(rows))


def _dots(asked: Int8Array, packed: Any) -> npt.NDArray[np.int32]:
    import numkong

    return np.asarray(numkong.dots_packed(asked, packed))
