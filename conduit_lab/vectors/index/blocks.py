"""Blocks: an array of rows that grows without moving what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array

# rows of a full block; 200 MB of float32 at 384 dimensions, which the system gives page by page
ROWS = 131_072
_SMALL = 4_096  # rows of the greatest block that is not a full one
_MOVED = 1_024  # rows that move together


class Blocks:
    """Rows of one dtype and shape in blocks of `ROWS`: growing copies at most one block, and never
    an older one.

    An array of millions of rows that doubled would need three times its size for a moment. A block
    that is full stays where it is, so a thread may read rows that are there while others are added.
    `given` are rows to begin with, used as they are; a block of them that is read-only is copied
    when one of its rows changes.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, given: Array | None = None
    ) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._blocks: list[Array] = []
        self._len = 0 if given is None else len(given)
        if given is not None:
            given = np.asarray(
                given
            )  # a plain view of a memmap, whose own copies and slices would be memmaps too
            self._blocks = [given[at : at + ROWS] for at in range(0, len(given), ROWS)]

    def __len__(self) -> int:
        return self._len

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in memory, without room for growth and without blocks that are mapped from a file."""
        row = self._dtype.itemsize * int(np.prod(self._shape))
        held = (
            min(ROWS, max(0, self._len - i * ROWS))
            for i, block in enumerate(self._blocks)
            if not mapped(block)
        )
        return row * sum(held)

    def append(self, rows: Array) -> None:
        """Add a copy of `rows` `[m, *shape]`, or nothing where there is no room for all of it."""
        self.reserve(len(rows))
        done = 0
        while done < len(rows):
            block, used = divmod(self._len, ROWS)
            more = rows[done : done + ROWS - used]
            self._blocks[block][used : used + len(more)] = more
            done += len(more)
            self._len += len(more)

    def reserve(self, rows: int) -> None:
        """Make room for so many more rows, after which adding them cannot fail."""
        block, used = divmod(self._len, ROWS)
        rows += used
        while rows > used:
            self._reserve(block, used, min(rows, ROWS))
            block, used, rows = block + 1, 0, rows - ROWS

    def join(self, more: Blocks) -> None:
        """Add copies of the rows of `more`."""
        for chunk in chunks(0, len(more), ROWS):
            self.append(more.view(chunk))

    def replace(self, at: npt.NDArray[np.int64], rows: Array) -> None:
        """Overwrite the rows `at` with a copy of `rows`."""
        which = at // ROWS
        for block in np.unique(which):
            self._own(block)
            here = which == block
            self._blocks[block][at[here] - block * ROWS] = rows[here]

    def keep(self, alive: npt.NDArray[np.bool_]) -> None:
        """Drop every row that is not `alive`; the others close up in their order, in the room that is there."""
        kept = np.flatnonzero(alive)
        for here in chunks(0, len(kept), _MOVED):
            if kept[here.stop - 1] >= here.stop:  # else they are where they belong
                rows = self.take(kept[here])
                self._own(here.start // ROWS)
                self.view(here)[:] = rows
        self._len = len(kept)
        del self._blocks[-(-self._len // ROWS) :]
        if self._blocks and 4 * (used := (self._len - 1) % ROWS + 1) < len(self._blocks[-1]):
            with suppress(MemoryError):  # it is only to give room back
                self._blocks[-1] = self._blocks[-1][:used].copy()

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
            self._blocks[block[begin]].take(
                here, axis=0, out=rows[begin:end], mode="clip"
            )  # clip: no second copy
        return rows

    def view(self, rows: slice) -> Array:
        """Return rows of one block as they lie there; `chunks` gives such slices."""
        block = rows.start // ROWS
        view: Array = self._blocks[block][rows.start - block * ROWS : rows.stop - block * ROWS]
        return view

    def _own(self, block: int) -> None:
        """Copy a block of a snapshot before it changes."""
        if not self._blocks[block].flags.writeable:
            self._blocks[block] = self._blocks[block].copy()

    def _reserve(self, block: int, used: int, rows: int) -> None:
        """Make room for `rows` rows in a block that holds `used`."""
        room = len(self._blocks[block]) if block < len(self._blocks) else 0
        if rows <= room and self._blocks[block].flags.writeable:
            return
        # Untouched room costs no memory, while what malloc gave for less than 32 MB it keeps for
        # itself when it is freed: so few and small steps, and then a whole block.
        size = ROWS if block or rows > _SMALL else max(64, rows, min(_SMALL, 8 * room))
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
