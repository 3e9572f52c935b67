"""Blocks: an array of rows that grows without moving what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array

ROWS = 131_072  # rows of a full block; 200 MB of float32 at 384 dimensions, which the system gives page by page


class Blocks:
    """Rows of one dtype and shape in blocks of `ROWS`: growing copies at most one block, and never an older one.

    An array of millions of rows that doubled would need three times its size for a moment. A block that is full
    stays where it is, so a thread may read rows that are there while others are added. `given` are rows to begin
    with, used as they are; a block of them that is read-only is copied when one of its rows changes.
    """

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike, given: Array | None = None) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._blocks: list[Array] = []
        self._len = 0 if given is None else len(given)
        if given is not None:
            given = np.asarray(given)  # a plain view of a memmap, whose own copies and slices would be memmaps too
            self._blocks = [given[at : at + ROWS] for at in range(0, len(given), ROWS)]

    def __len__(self) -> int:
        return self._len

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in memory, without room for growth and without blocks that are mapped from a file."""
        row = self._dtype.itemsize * int(np.prod(self._shape))
        return row * sum(min(ROWS, self._len - i * ROWS) for i, block in enumerate(self._blocks) if not mapped(block))

    def append(self, rows: Array) -> None:
        """Add a copy of `rows` `[m, *shape]`."""
        done = 0
        while done < len(rows):
            last, used = divmod(self._len, ROWS)
            more = rows[done : done + ROWS - used]
            self._reserve(last, used, used + len(more))
            self._blocks[last][used : used + len(more)] = more
            done += len(more)
            self._len += len(more)

    def join(self, more: Blocks) -> None:
        """Add copies of the rows of `more`."""
        for chunk in chunks(0, len(more), ROWS):
            self.append(more.view(chunk))

    def replace(self, at: npt.NDArray[np.int64], rows: Array) -> None:
        """Overwrite the rows `at` with a copy of `rows`."""
        which = at // ROWS
        for block in np.unique(which):
            if not self._blocks[block].flags.writeable:
                self._blocks[block] = self._blocks[block].copy()
            here = which == block
            self._blocks[block][at[here] - block * ROWS] = rows[here]

    def keep(self, alive: npt.NDArray[np.bool_]) -> None:
        """Drop every row that is not `alive`; the others close up in their order."""
        old, self._blocks, self._len = self._blocks, [], 0
        old.reverse()
        for begin in range(0, len(alive), ROWS):
            here = alive[begin : begin + ROWS]
            self.append(old.pop()[: len(here)][here])  # popped, so that old and new are not both there whole

    def take(self, at: npt.NDArray[np.int64]) -> Array:
        """Return a copy of the rows `at`, in that order."""
        if len(self._blocks) == 1:
            taken: Array = self._blocks[0][at]
            return taken
        rows = np.empty((len(at), *self._shape), self._dtype)
        block = at // ROWS
        cuts = np.flatnonzero(np.diff(block)) + 1
        if len(cuts) > len(self._blocks):  # in no order: sorted, a block's rows come in one go
            order = np.argsort(at)
            rows[order] = self.take(at[order])
            return rows
        for begin, end in pairwise([0, *cuts.tolist(), len(at)] if len(at) else []):
            here = at[begin:end] - block[begin] * ROWS
            self._blocks[block[begin]].take(here, axis=0, out=rows[begin:end], mode="clip")  # clip: no second copy
        return rows

    def view(self, rows: slice) -> Array:
        """Return rows of one block as they lie there; `chunks` gives such slices."""
        block = rows.start // ROWS
        view: Array = self._blocks[block][rows.start - block * ROWS : rows.stop - block * ROWS]
        return view

    def _reserve(self, block: int, used: int, rows: int) -> None:
        """Make room for `rows` rows in a block that holds `used`: doubled until it is full size."""
        room = len(self._blocks[block]) if block < len(self._blocks) else 0
        if rows <= room and self._blocks[block].flags.writeable:
            return
        # What follows a full block will likely fill its own; untouched room costs no memory.
        size = min(ROWS, max(64, rows, 2 * room)) if block == 0 else ROWS
        new = np.empty((size, *self._shape), self._dtype)
        if used:
            new[:used] = self._blocks[block][:used]
        self._blocks[block:] = [new]


def chunks(begin: int, end: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` rows that cover `begin` to `end`, none across the edge of a block."""
    while begin < end:
        stop = min(end, begin + size, (begin // ROWS + 1) * ROWS)
        yield slice(begin, stop)
        begin = stop


def mapped(array: Array) -> bool:
    """Tell whether the bytes of `array` lie in a mapped file."""
    base: object = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return isinstance(base, np.memmap)
