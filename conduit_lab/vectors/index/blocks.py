"""Blocks: an array of rows that grows without moving existing rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array

# Per full block: 200 MB of float32 at 384 dimensions, which the system allocates page by page.
BLOCK_ROWS = 131_072
_SMALL_ROWS = 4_096  # in the largest block below a full one
_MOVED_ROWS = 1_024  # moved together by compaction


class Blocks:
    """Rows of one dtype and shape in blocks of `BLOCK_ROWS`: growing copies at most the last block.

    Doubling an array of millions of rows would briefly take three times its size. A full block
    never moves, so a thread may read existing rows while others are added. `given` are the first
    rows, used without copying; a read-only block of them is copied when one of its rows changes.
    `count` is the number of rows.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, given: Array | None = None
    ) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._blocks: list[Array] = []
        self.count = 0 if given is None else len(given)
        if given is not None:
            # A plain view of a memmap, because copies and slices of a memmap are memmaps too.
            given = np.asarray(given)
            self._blocks = [given[at : at + BLOCK_ROWS] for at in range(0, len(given), BLOCK_ROWS)]

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        """Size of the rows in memory in bytes, excluding spare capacity and mapped blocks."""
        row = self._dtype.itemsize * int(np.prod(self._shape))
        held = (
            min(BLOCK_ROWS, max(0, self.count - i * BLOCK_ROWS))
            for i, block in enumerate(self._blocks)
            if not is_mapped(block)
        )
        return row * sum(held)

    def append(self, rows: Array) -> None:
        """Add a copy of `rows` `[m, *shape]`: all of it, or nothing if memory runs out."""
        self.reserve(len(rows))
        done = 0
        while done < len(rows):
            block, used = divmod(self.count, BLOCK_ROWS)
            more = rows[done : done + BLOCK_ROWS - used]
            self._blocks[block][used : used + len(more)] = more
            done += len(more)
            self.count += len(more)

    def reserve(self, rows: int) -> None:
        """Reserve room for this many more rows, so that adding them cannot fail."""
        block, used = divmod(self.count, BLOCK_ROWS)
        rows += used
        while rows > used:
            self._reserve(block, used, min(rows, BLOCK_ROWS))
            block, used, rows = block + 1, 0, rows - BLOCK_ROWS

    def join(self, more: Blocks) -> None:
        """Add copies of the rows of `more`."""
        for chunk in block_slices(0, len(more), BLOCK_ROWS):
            self.append(more.view(chunk))

    def replace(self, at: npt.NDArray[np.int64], rows: Array) -> None:
        """Overwrite the rows `at` with a copy of `rows`."""
        which = at // BLOCK_ROWS
        for block in np.unique(which):
            self._own(block)
            here = which == block
            self._blocks[block][at[here] - block * BLOCK_ROWS] = rows[here]

    def keep(self, live: npt.NDArray[np.bool_]) -> None:
        """Drop every row that is not `live`, and move the others together in order, in place."""
        kept = np.flatnonzero(live)
        for here in block_slices(0, len(kept), _MOVED_ROWS):
            if kept[here.stop - 1] >= here.stop:  # otherwise they are already in place
                rows = self.take(kept[here])
                self._own(here.start // BLOCK_ROWS)
                self.view(here)[:] = rows
        self.count = len(kept)
        del self._blocks[-(-self.count // BLOCK_ROWS) :]
        if self._blocks and 4 * (used := (self.count - 1) % BLOCK_ROWS + 1) < len(self._blocks[-1]):
            with suppress(MemoryError):  # the copy only frees room
                self._blocks[-1] = self._blocks[-1][:used].copy()

    def take(self, at: npt.NDArray[np.int64]) -> Array:
        """Return a copy of the rows `at`, in that order."""
        if len(self._blocks) == 1:
            taken: Array = self._blocks[0][at]
            return taken
        rows = np.empty((len(at), *self._shape), self._dtype)
        block = at // BLOCK_ROWS
        cuts = np.flatnonzero(np.diff(block)) + 1
        if len(cuts) > len(self._blocks):  # after sorting, the rows of a block are copied at once
            order = np.argsort(at)
            rows[order] = self.take(at[order])
            return rows
        for begin, end in pairwise([0, *cuts.tolist(), len(at)] if len(at) else []):
            here = at[begin:end] - block[begin] * BLOCK_ROWS
            # clip avoids a second copy
            self._blocks[block[begin]].take(here, axis=0, out=rows[begin:end], mode="clip")
        return rows

    def view(self, rows: slice) -> Array:
        """Return a view of rows within one block; `block_slices` yields such slices."""
        block = rows.start // BLOCK_ROWS
        view: Array = self._blocks[block][
            rows.start - block * BLOCK_ROWS : rows.stop - block * BLOCK_ROWS
        ]
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
        # Untouched capacity costs no memory, but malloc retains freed areas below 32 MB: so grow in
        # a few small steps, then by whole blocks.
        size = (
            BLOCK_ROWS if block or rows > _SMALL_ROWS else max(64, rows, min(_SMALL_ROWS, 8 * room))
        )
        new = np.empty((size, *self._shape), self._dtype)
        if used:
            new[:used] = self._blocks[block][:used]
        self._blocks[block:] = [new]


def block_slices(begin: int, end: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` rows that cover `begin` to `end`, each within one block."""
    while begin < end:
        stop = min(end, begin + size, (begin // BLOCK_ROWS + 1) * BLOCK_ROWS)
        yield slice(begin, stop)
        begin = stop


def is_mapped(array: Array) -> bool:
    """Return whether `array` is backed by a mapped file."""
    base: object = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return isinstance(base, np.memmap)
