"""Entry rows: the entries of a store in memory, one row per entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.arrays import BoolArray, IntArray
from conduit_lab.vectors.backend import Match
from conduit_lab.vectors.batch import Batch
from conduit_lab.vectors.columns import MetadataColumns
from conduit_lab.vectors.disk.record import Block
from conduit_lab.vectors.filters import Filter
from conduit_lab.vectors.index.index import Index

_MIN_TOMBSTONES = 1_024  # tombstones kept, and external changes applied one by one
_MAX_TOMBSTONE_SHARE = 0.25  # of all rows
_BLOCK_ROWS = 1_024  # read or copied together; other threads run in between


class Compaction(NamedTuple):
    """The parts of compacted rows, allocated before anything changes."""

    live: BoolArray
    ids: list[str]
    row_of: dict[str, int]
    all_live: BoolArray
    numbers: IntArray


class EntryRows:
    """Vectors, ids and metadata, one fixed row per entry, in insertion order.

    A deleted entry leaves a tombstone until compaction. The vectors of `mapped` rows are in `index`
    from the start. Not thread-safe: the backend holds a lock.
    """

    def __init__(self, index: Index, *, mapped: bool = False) -> None:
        self.index = index
        self.columns = MetadataColumns()
        self.ids: list[str] = []
        self.row_of: dict[str, int] = {}
        self._mapped = mapped
        self._deleted: dict[str, int] = {}  # rows deleted by the last change
        self._capacity = np.zeros(0, np.bool_)  # `live` with room to grow
        # Numbers in the storage of the first rows, as far as filters have needed them.
        self._numbers = np.zeros(0, np.int64)

    @property
    def live(self) -> BoolArray:
        """Whether each row is live rather than a tombstone: bool `[n]`, a view."""
        return self._capacity[: len(self.ids)]

    @property
    def tombstones(self) -> int:
        """Number of deleted rows."""
        return len(self.ids) - len(self.row_of)

    @property
    def max_changes(self) -> int:
        """Above this many changed rows a full rebuild is cheaper than incremental updates."""
        return max(_MIN_TOMBSTONES, int(_MAX_TOMBSTONE_SHARE * len(self.ids)))

    # Changes

    def begin_change(self) -> int:
        """Return the number of rows, for `undo`."""
        self._deleted = {}
        return len(self.ids)

    def add(self, batch: Batch, before: list[Block] | None) -> None:
        """Add or replace the entries of `batch`; `before` receives the old values."""
        for at in range(0, len(batch), _BLOCK_ROWS):
            here = slice(at, at + _BLOCK_ROWS)
            self.put(Block(batch.ids[here], batch.embeddings[here], batch.metadatas[here]), before)

    def put(self, block: Block, before: list[Block] | None = None) -> None:
        """Append rows for new entries and update known ones; `before` receives the old values."""
        ids, vectors, metadatas = block
        old = [i for i, id in enumerate(ids) if id in self.row_of]
        if old:
            rows = np.array([self.row_of[ids[i]] for i in old], np.int64)
            if before is not None:
                had = [self.columns.metadata(at) for at in rows.tolist()]
                before.append(Block([ids[i] for i in old], self.index.take(rows), had))
            self.index.replace(rows, vectors[old])
            self.columns.replace(rows.tolist(), [metadatas[i] for i in old])
        new: Sequence[int] = range(len(ids))
        if old:
            new = [i for i, id in enumerate(ids) if id not in self.row_of]
        if len(new):
            if not self._mapped:
                self.index.append(vectors[list(new)] if old else vectors)
            self.columns.append([metadatas[i] for i in new])
            first = len(self.ids)
            self.ids += [ids[i] for i in new]
            self.row_of.update(zip(self.ids[first:], range(first, len(self.ids)), strict=True))
            if len(self.ids) > len(self._capacity):
                grown = np.ones(max(len(self.ids), 2 * len(self._capacity), 64), np.bool_)
                grown[: len(self._capacity)] = self._capacity
                self._capacity = grown

    def delete_rows(self, ids: Sequence[str]) -> None:
        """Convert the rows of `ids`, which must be known, to tombstones."""
        self._deleted = {id: self.row_of[id] for id in ids}
        self._capacity[list(self._deleted.values())] = False
        for id in ids:
            del self.row_of[id]

    def undo(self, count: int, before: Sequence[Block]) -> None:
        """Undo a failed change: restore `count` rows with their old values."""
        self._truncate(count)
        for block in before:
            self.put(block)
        self._capacity[list(self._deleted.values())] = True
        self.row_of |= self._deleted

    def plan_compaction(self) -> Compaction:
        """Return the parts of the rows without tombstones, without changing anything."""
        live = self.live
        ids = list(compress(self.ids, live.tolist()))
        row_of = {id: at for at, id in enumerate(ids)}
        numbers = self._numbers[live[: len(self._numbers)]]
        return Compaction(live, ids, row_of, np.ones(len(ids), np.bool_), numbers)

    def compact(self, plan: Compaction) -> None:
        """Drop the tombstones in place."""
        self.index.compact(plan.live)
        self.columns.compact(plan.live)
        self.ids, self.row_of, self._capacity, self._numbers = plan[1:]

    def _truncate(self, count: int) -> None:
        """Drop the rows from `count` on; some parts may not have all of them."""
        for id in self.ids[count:]:
            self.row_of.pop(id, None)
        del self.ids[count:]
        self._numbers = self._numbers[:count]
        for part in (self.index, self.columns):
            if len(part) > count:
                part.compact(np.arange(len(part)) < count)

    # Reading

    def keep(self, where: Filter | BoolArray | None) -> BoolArray | None:
        """Return the rows that `where` selects, or None for all; a mask has one value per entry."""
        if where is None:
            return self.live if self.tombstones else None
        if isinstance(where, Filter):
            mask = where.mask(self.columns)
            return mask & self.live if self.tombstones else mask
        if len(where) != len(self.row_of):
            raise VectorInputError(
                f"where= expects a mask with one value per entry, bool [{len(self.row_of)}], "
                f"got [{len(where)}]"
            )
        keep = np.zeros(len(self.ids), np.bool_)
        keep[self.live] = where
        return keep

    def rows_of(self, numbers: IntArray, load: Callable[[int], IntArray]) -> IntArray:
        """Return the rows of entries by their numbers in the storage.

        Both ascend in insertion order. `load(after)` reads the numbers beyond `after`.
        """
        known, live = len(self._numbers), self.live
        if known < len(self.ids):
            last = self._numbers[live[:known]].max(initial=0)
            new = np.zeros(len(self.ids) - known, np.int64)
            new[live[known:]] = load(int(last))
            self._numbers = np.concatenate([self._numbers, new])
        rows = np.flatnonzero(live)
        return rows[np.searchsorted(self._numbers[rows], numbers)]

    def vectors(self) -> Iterator[FloatArray]:
        """Yield the vectors of all entries, block by block."""
        rows = np.flatnonzero(self.live)
        for at in range(0, len(rows), _BLOCK_ROWS):
            yield self.index.take(rows[at : at + _BLOCK_ROWS])

    def matches(
        self,
        rows: Sequence[int],
        scores: Sequence[float],
        contents_of: Callable[[list[str]], list[str | None]],
    ) -> list[Match]:
        """Return the matches in some rows; `contents_of` reads the contents of ids."""
        ids = list(map(self.ids.__getitem__, rows))
        contents, metadatas = contents_of(ids), self.columns.copies(rows)
        return list(map(Match, ids, scores, contents, metadatas))
