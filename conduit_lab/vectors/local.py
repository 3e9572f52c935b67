"""Local: the backend in this process, one SQLite file or none, with every vector in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np

from conduit_lab.core import forking, paths
from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views import figures
from conduit_lab.vectors.arrays import BoolArray, IntArray
from conduit_lab.vectors.backend import Match, Matches, Notes
from conduit_lab.vectors.batch import Batch
from conduit_lab.vectors.columns import Columns
from conduit_lab.vectors.disk.deadline import Deadline
from conduit_lab.vectors.disk.livefile import check_replaceable
from conduit_lab.vectors.disk.record import Block
from conduit_lab.vectors.disk.snapshot import write_snapshot
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.entry import Entry, copy_json
from conduit_lab.vectors.filters import Filter
from conduit_lab.vectors.index.index import Index
from conduit_lab.vectors.interrupts import uninterrupted

_SPARE = (
    1_024  # dead rows that are always kept, and changes of others that are always made one by one
)
_MANY = 0.25  # of all rows, beyond which the dead are dropped, and all rows read again
_BLOCK = 1_024  # entries that are read or copied together, so that other threads run in between


class Local:
    """The entries of one store in this process; see `Backend`.

    What is in the file is the truth. In memory are the vectors, the ids and the metadata, each
    entry in one row that it keeps; a deleted entry's row is dead until enough of them are. Without
    `path` there is no file, and the rows have the only copy of the embeddings. Stores that share a
    file see each other's changes. `dimension` and `metric` None are those of the file, for a new
    store 384 and cosine.
    """

    _mapped = False  # whether the rows have their vectors before they are read

    def __init__(
        self,
        path: Path | None,
        dimension: int | None = None,
        metric: str | None = None,
        *,
        durability: str = "normal",
    ) -> None:
        self.path = path
        self.version = 0
        self._closed = False
        self._stale = False
        self.admit: Callable[[Storage], None] = lambda _: (
            None
        )  # raises for changes of others that do not fit
        # One lock for file and rows. A scan is bound by memory bandwidth, so two at once would gain
        # nothing.
        self._lock = threading.RLock()
        forking.free_in_child(self, "_lock", torn="_stale")
        self._storage = self._open(dimension, metric, durability)
        self.dimension, self.metric = self._storage.dimension, self._storage.metric
        try:
            self._load()
        except BaseException:
            self._storage.close()
            raise

    def _open(self, dimension: int | None, metric: str | None, durability: str) -> Storage:
        return Storage(self.path, dimension, metric, durability=durability)

    # Writing

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Store all of `entries` or none."""
        batch = Batch.of(entries)
        with self._changing() as before:
            self._storage.put(batch)
            self._add(batch, before)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove what is there of `ids` and return how many there were."""
        with self._fresh():
            if self._at.keys().isdisjoint(ids):
                return 0
        with self._changing():
            known = [id for id in dict.fromkeys(ids) if id in self._at]
            if known:
                self._storage.remove(known)
                self._bury(known)
            return len(known)

    # Reading

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each id, or None."""
        with self._fresh():
            found = self._storage.get(ids)
            if self._durable:
                return found
            rows = iter(
                self._index.take(
                    np.array([self._at[e.id] for e in found if e is not None], np.int64)
                )
            )
            return [
                entry if entry is None else replace(entry, embedding=next(rows)) for entry in found
            ]

    def ids(self, where: Filter | BoolArray | None = None) -> list[str]:
        """Return the ids in the order of adding."""
        with self._fresh():
            keep = self._keep(where)
            return list(self._ids) if keep is None else list(compress(self._ids, keep.tolist()))

    def count(self, where: Filter | BoolArray | None = None) -> int:
        """Return how many entries there are."""
        with self._fresh():
            keep = None if where is None else self._keep(where)
            return len(self._at) if keep is None else int(np.count_nonzero(keep))

    def search(
        self,
        queries: FloatArray,
        top_k: int,
        where: Filter | BoolArray | None = None,
        exact: bool = False,
    ) -> Matches:
        """Return the best `top_k` for each row of `queries`."""
        with self._fresh():
            found, plans = self._index.search(queries, top_k, self._keep(where), exact=exact)
            return Matches(
                [self._matches(rows.tolist(), scores.tolist()) for rows, scores in found], plans
            )

    def lexical(
        self, text: str, top_k: int, where: Filter | BoolArray | None = None
    ) -> list[Match]:
        """Return the best `top_k` entries by the words of `text`."""
        with self._fresh():
            keep = None if where is None else self._keep(where)
            kept = None if keep is None else lambda numbers: keep[self._rows(numbers)]
            found = self._storage.lexical(text, top_k, kept)
            return self._matches([self._at[id] for id, _ in found], [score for _, score in found])

    @property
    def notes(self) -> Notes | None:
        """Its notes are in the storage."""
        return self

    def read_notes(self, prefix: str) -> dict[str, str]:
        """Return the notes whose keys begin with `prefix`, by the rest of the key."""
        with self._fresh():
            return self._storage.read_notes(prefix)

    def write_notes(self, prefix: str, changes: Mapping[str, str | None]) -> None:
        """Write some notes, all of them or none; None removes one."""
        with self._changing():
            self._storage.write_notes(prefix, changes)

    # Life

    def copy_to(self, path: Path, *, replace: bool = False) -> None:
        """Write a consistent copy as a new store file, with `replace` in place of an older copy."""
        if replace:
            check_replaceable(path)
        with self._fresh():
            self._storage.copy_to(path, () if self._durable else self._vectors(), replace=replace)

    def snapshot(self, folder: Path) -> None:
        """Write the current version of a snapshot."""
        with self._fresh():
            if len(self._at) < len(self._ids) and not self._mapped:
                self._compact()  # the index's codes are written for living rows alone
            live = self._alive[: len(self._ids)]
            write_snapshot(folder, self._storage, self._index, live, self._ids)

    def facts(self) -> list[str]:
        """Return what a repr shows."""
        count = len(self._at)
        return [
            "closed"
            if self._closed
            else f"{figures.count(count)} {'entry' if count == 1 else 'entries'}",
            f"{self.dimension} × float32",
            self.metric,
            figures.size(self._index.nbytes),
            "in memory" if self.path is None else paths.display(self.path),
        ]

    def close(self) -> None:
        """Close the file and let go of the rows."""
        with self._lock:
            self._closed = True
            self._storage.close()
            self._index.close()
            self._clear()

    # Rows

    @property
    def _durable(self) -> bool:
        """Whether the storage has the embeddings; where it has not, the rows have the only copy."""
        return self.path is not None and not self._mapped

    def _clear(self) -> None:
        self._index = Index(self.dimension, self.metric)
        self._columns = Columns()
        self._ids: list[str] = []
        self._at: dict[str, int] = {}
        self._deleted: dict[str, int] = {}  # rows that the last change deleted
        self._alive = np.zeros(0, np.bool_)
        self._numbers = np.zeros(
            0, np.int64
        )  # of the first rows in the storage, as far as a filter has asked

    def _load(self) -> None:
        """Read every row from the storage."""
        self._stale = True
        self._clear()
        for block in self._storage.load():
            self._put(block)
        self._stale = False

    def _add(self, batch: Batch, before: list[Block]) -> None:
        self._stale = True
        for at in range(0, len(batch), _BLOCK):
            here = slice(at, at + _BLOCK)
            self._put(Block(batch.ids[here], batch.embeddings[here], batch.metadatas[here]), before)

    def _put(self, block: Block, before: list[Block] | None = None) -> None:
        """Give new entries a row each, and known ones what is new of them; `before` gets what they had."""
        ids, vectors, metadatas = block
        old = [i for i, id in enumerate(ids) if id in self._at]
        if old:
            rows = np.array([self._at[ids[i]] for i in old], np.int64)
            if before is not None and not self._durable:
                had = [self._columns.metadata(at) for at in rows.tolist()]
                before.append(Block([ids[i] for i in old], self._index.take(rows), had))
            self._index.replace(rows, vectors[old])
            self._columns.replace(rows.tolist(), [metadatas[i] for i in old])
        new = range(len(ids)) if not old else [i for i, id in enumerate(ids) if id not in self._at]
        if len(new):
            if not self._mapped:
                self._index.append(vectors if not old else vectors[list(new)])
            self._columns.append([metadatas[i] for i in new])
            first = len(self._ids)
            self._ids += [ids[i] for i in new]
            self._at.update(zip(self._ids[first:], range(first, len(self._ids)), strict=True))
            if len(self._ids) > len(self._alive):
                grown = np.ones(max(len(self._ids), 2 * len(self._alive), 64), np.bool_)
                grown[: len(self._alive)] = self._alive
                self._alive = grown

    def _undo(self, count: int, before: Sequence[Block]) -> None:
        """Restore the rows of a failed change: `count`, with these old values, none deleted."""
        self._drop(count)
        for block in before:
            self._put(block)
        self._alive[list(self._deleted.values())] = True
        self._at |= self._deleted

    def _bury(self, ids: Sequence[str]) -> None:
        self._deleted = {id: self._at[id] for id in ids}
        self._stale = True
        self._alive[list(self._deleted.values())] = False
        for id in ids:
            del self._at[id]

    def _compact(self) -> None:
        """Drop the dead rows."""
        alive = self._alive[: len(self._ids)]
        ids = list(compress(self._ids, alive.tolist()))
        at = {id: at for at, id in enumerate(ids)}
        # Rows move in place, so without a file an interrupt waits; a plain write never does this.
        all_alive = np.ones(len(ids), np.bool_)
        numbers = self._numbers[alive[: len(self._numbers)]]
        with nullcontext() if self._durable else uninterrupted():
            self._stale = True
            self._index.compact(alive)
            self._columns.compact(alive)
            self._ids, self._at, self._alive, self._numbers = ids, at, all_alive, numbers
            self._stale = False

    def _drop_dead(self) -> None:
        if len(self._ids) - len(self._at) > self._many:
            with suppress(MemoryError):  # nothing is wrong with dead rows
                self._compact()

    @property
    def _many(self) -> int:
        """Above this many rows a full rebuild is cheaper than incremental updates."""
        return max(_SPARE, int(_MANY * len(self._ids)))

    def _drop(self, count: int) -> None:
        """Drop the rows from `count` on, which may not all be there in each part."""
        for id in self._ids[count:]:
            self._at.pop(id, None)
        del self._ids[count:]
        self._numbers = self._numbers[:count]
        for part in (self._index, self._columns):
            if len(part) > count:
                part.compact(np.arange(len(part)) < count)

    def _keep(self, where: Filter | BoolArray | None) -> BoolArray | None:
        """Return which rows may be found, or None for all; a mask that is given has one value for each entry."""
        alive = self._alive[: len(self._ids)]
        if where is None:
            return None if len(self._at) == len(self._ids) else alive
        if isinstance(where, Filter):
            mask = where.mask(self._columns)
            return mask if len(self._at) == len(self._ids) else mask & alive
        if len(where) != len(self._at):
            raise VectorInputError(
                f"a mask wants one value for each of {len(self._at)} entries, got {len(where)}"
            )
        keep = np.zeros(len(self._ids), np.bool_)
        keep[alive] = where
        return keep

    def _rows(self, numbers: IntArray) -> IntArray:
        """Return the rows of entries by their numbers in the storage; both ascend in the order of adding."""
        known, alive = len(self._numbers), self._alive[: len(self._ids)]
        if known < len(self._ids):
            last = self._numbers[alive[:known]].max(initial=0)
            self._numbers = np.concatenate(
                [self._numbers, np.zeros(len(self._ids) - known, np.int64)]
            )
            self._numbers[known:][alive[known:]] = self._storage.numbers(int(last))
        rows = np.flatnonzero(alive)
        return rows[np.searchsorted(self._numbers[rows], numbers)]

    def _vectors(self) -> Iterator[FloatArray]:
        """Yield the vectors of the living rows."""
        rows = np.flatnonzero(self._alive[: len(self._ids)])
        for at in range(0, len(rows), _BLOCK):
            yield self._index.take(rows[at : at + _BLOCK])

    def _matches(self, rows: Sequence[int], scores: Sequence[float]) -> list[Match]:
        ids = [self._ids[at] for at in rows]
        contents = self._storage.contents(ids)
        return [
            Match(id, score, content, copy_json(self._columns.metadata(at)))
            for id, score, content, at in zip(ids, scores, contents, rows, strict=True)
        ]

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreError("the store is closed: open it again with VectorStore(path=…)")
        if self._stale and not self._durable:
            self.close()
            raise StoreError(
                "the store in memory is closed: a change of it failed halfway, and there is no other copy of its "
                "entries to go back to; add them again, or give a store a path"
            )
        if self._storage.forked:
            self._storage.reopen()

    @contextmanager
    def _begun(self, *, write: bool = False) -> Iterator[None]:
        """Hold the lock, with a transaction of the storage begun.

        While another process writes, a writer waits without the lock, so that searches go on.
        """
        until = None
        while not self._try_begin(write):
            until = until or Deadline(self.path or "", self._storage.patience)
            until.pause()
        try:
            yield
        finally:
            self._storage.cancel()
            self._lock.release()

    def _try_begin(self, write: bool) -> bool:
        """Take the lock and begin a transaction, or neither where another process does not let it."""
        begun = False
        self._lock.acquire()
        try:
            self._check_usable()
            begun = self._storage.begin(write=write)
        finally:
            if not begun:
                self._lock.release()
        return begun

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Hold rows and storage in one state, the last."""
        with self._begun(), self._storage.ending():
            self._catch_up()
            yield

    @contextmanager
    def _changing(self) -> Iterator[list[Block]]:
        """Change storage and rows, from their last state on, both or neither.

        Where it fails after rows were changed, or is interrupted, they are read again from the
        file. Without a file they are the only copy: unless the storage has committed, they are
        restored, replaced ones from the list.
        """
        with self._begun(write=True):
            count, before = len(self._ids), list[Block]()
            self._deleted = {}
            changed = False
            try:
                with self._storage.ending(write=True):
                    self._catch_up()
                    yield before
                    changed = self._stale
                self.version += changed
                self._stale = False
            except BaseException:
                if self._stale and not self._durable:
                    if not self._storage.committed():
                        self._undo(count, before)
                    self._stale = False
                raise
            if changed:
                self._drop_dead()

    def _catch_up(self) -> None:
        """Take in what other stores have written to the file: what they changed, or all of it where that is much."""
        if not self._stale and not self._storage.changed_elsewhere():
            return
        self.admit(self._storage)
        self._drop_dead()
        known, self._stale = not self._stale, True
        changes = self._storage.changes(self._many) if known else None
        if changes is None:
            self._load()
        else:
            removed, put = changes
            self._bury([id for id in removed if id in self._at])
            for block in put:
                self._put(block)
        self._stale = False
        self.version += changes != (
            [],
            [],
        )  # a log that was moved into the file looks like a change
