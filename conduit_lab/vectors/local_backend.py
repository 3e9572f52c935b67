"""Local backend: an optional SQLite file, with all vectors in the memory of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core import forking, paths
from conduit_lab.core.errors import StoreError
from conduit_lab.core.progress import progress
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views import figures
from conduit_lab.vectors.arrays import BoolArray, IntArray
from conduit_lab.vectors.backend import Match, Matches, Notes
from conduit_lab.vectors.batch import Batch
from conduit_lab.vectors.disk.livefile import check_replaceable
from conduit_lab.vectors.disk.patience import Deadline
from conduit_lab.vectors.disk.record import Block
from conduit_lab.vectors.disk.snapshot import write_snapshot
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.entry_rows import EntryRows
from conduit_lab.vectors.filters import Filter
from conduit_lab.vectors.index.index import Index
from conduit_lab.vectors.interrupts import uninterrupted


class LocalBackend:
    """The entries of one store in this process; see `Backend`.

    The file is authoritative; vectors, ids and metadata are also in memory (`EntryRows`). Without
    `path` there is no file, and the rows hold the only copy of the embeddings. Stores that share a
    file see each other's changes. `dimension` and `metric` default to those of the file, for a new
    store to 384 and cosine.
    """

    _mapped = False  # whether the index has the vectors before rows are read
    _rows: EntryRows

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
        # Raises `StoreError` to reject the changes of another process.
        self.admit: Callable[[Storage], None] = lambda _: None
        self._closed = False
        self._stale = False  # the rows differ from the storage: a change is in progress or failed
        # Guards file and rows. Scans are limited by memory bandwidth, so two at once gain nothing.
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
            self._stale = True
            self._rows.add(batch, None if self._durable else before)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove the entries of `ids` and return their number; unknown ids are ignored."""
        with self._fresh():
            if self._rows.row_of.keys().isdisjoint(ids):
                return 0
        with self._changing():
            known = [id for id in dict.fromkeys(ids) if id in self._rows.row_of]
            if known:
                self._storage.remove(known)
                self._stale = True
                self._rows.delete_rows(known)
            return len(known)

    # Reading

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each id, or None."""
        with self._fresh():
            found = self._storage.get(ids)
            if self._durable:
                return found
            at = [self._rows.row_of[entry.id] for entry in found if entry is not None]
            vectors = iter(self._rows.index.take(np.array(at, np.int64)))
            return [
                entry if entry is None else replace(entry, embedding=next(vectors))
                for entry in found
            ]

    def ids(self, where: Filter | BoolArray | None = None) -> list[str]:
        """Return the ids in insertion order."""
        with self._fresh():
            keep = self._rows.keep(where)
            ids = self._rows.ids
            return list(ids) if keep is None else list(compress(ids, keep.tolist()))

    def count(self, where: Filter | BoolArray | None = None) -> int:
        """Return the number of entries."""
        with self._fresh():
            keep = None if where is None else self._rows.keep(where)
            return len(self._rows.row_of) if keep is None else int(np.count_nonzero(keep))

    def search(
        self,
        queries: FloatArray,
        top_k: int,
        where: Filter | BoolArray | None = None,
        exact: bool = False,
    ) -> Matches:
        """Return the best `top_k` for each row of `queries`."""
        with self._fresh():
            rows, contents_of, lists = self._rows, self._storage.contents, []
            found, plans = rows.index.search(queries, top_k, rows.keep(where), exact=exact)
            for at, scores in found:
                lists.append(rows.matches(at.tolist(), scores.tolist(), contents_of))
            return Matches(lists, plans)

    def lexical(
        self, text: str, top_k: int, where: Filter | BoolArray | None = None
    ) -> list[Match]:
        """Return the best `top_k` entries by the words of `text`."""
        with self._fresh():
            rows, storage = self._rows, self._storage
            keep = None if where is None else rows.keep(where)
            kept = None
            if keep is not None:
                kept = lambda numbers: keep[rows.rows_of(numbers, storage.numbers)]  # noqa: E731
            found = storage.lexical(text, top_k, kept)
            at = [rows.row_of[id] for id, _ in found]
            return rows.matches(at, [score for _, score in found], storage.contents)

    def rows_where(
        self, where: Filter | BoolArray | None, choose: Callable[[int], IntArray]
    ) -> tuple[tuple[list[str], FloatArray, list[dict[str, Any]]], int]:
        """Return ids, vectors `[m, dimension]` and metadata of some entries, and the total number.

        `choose` receives the number of entries that `where` selects, and returns the ascending
        indices to read. The metadata is not copied: callers must not change it.
        """
        with self._fresh():
            rows = self._rows
            keep = rows.keep(where)
            kept = np.arange(len(rows.ids)) if keep is None else np.flatnonzero(keep)
            at = kept[choose(len(kept))]
            places = at.tolist()
            ids = list(map(rows.ids.__getitem__, places))
            metadatas = list(map(rows.columns.metadata, places))
            return (ids, rows.index.take(at), metadatas), len(kept)

    def contents(self, ids: Sequence[str]) -> list[str | None]:
        """Return the content of each id, None for an unknown id."""
        with self._fresh():
            known = [id for id in ids if id in self._rows.row_of]
            texts = dict(zip(known, self._storage.contents(known), strict=True))
            return [texts.get(id) for id in ids]

    def metadata_keys(self) -> set[str]:
        """Return the metadata keys of all entries, possibly including deleted ones."""
        with self._fresh():
            return self._rows.columns.keys

    @property
    def notes(self) -> Notes | None:
        """The notes, which are in the storage."""
        return self

    def read_notes(self, prefix: str) -> dict[str, str]:
        """Return the notes whose keys start with `prefix`, by the rest of the key."""
        with self._fresh():
            return self._storage.read_notes(prefix)

    def write_notes(self, prefix: str, changes: Mapping[str, str | None]) -> None:
        """Write some notes atomically; None removes a note."""
        with self._changing():
            self._storage.write_notes(prefix, changes)

    # Copies

    def copy_to(self, path: Path, *, replace: bool = False) -> None:
        """Write a consistent copy to a new store file; `replace` allows replacing an older copy."""
        if replace:
            check_replaceable(path)
        with self._fresh():
            vectors = () if self._durable else self._rows.vectors()
            self._storage.copy_to(path, vectors, replace=replace)

    def snapshot(self, folder: Path) -> None:
        """Write the current version of a snapshot."""
        with self._fresh():
            if self._rows.tombstones and not self._mapped:
                self._compact()  # codes are stored only for an index without tombstones
            write_snapshot(folder, self._storage, self._rows.index, self._rows.live, self._rows.ids)

    # Life

    def facts(self) -> list[str]:
        """Return the facts for a repr."""
        count = len(self._rows.row_of)
        entries = figures.plural(count, "entry")
        return [
            "closed" if self._closed else entries,
            f"{self.dimension} × float32",
            self.metric,
            figures.size(self._rows.index.nbytes),
            "in memory" if self.path is None else paths.display(self.path),
        ]

    def close(self) -> None:
        """Close the file and free the rows; idempotent."""
        with self._lock:
            self._closed = True
            self._storage.close()
            self._rows.index.close()
            self._rows = self._new_rows()

    # State

    @property
    def _durable(self) -> bool:
        """Whether the storage has the embeddings; if not, the rows hold the only copy."""
        return self.path is not None and not self._mapped

    def _new_rows(self) -> EntryRows:
        return EntryRows(Index(self.dimension, self.metric))

    def _load(self) -> None:
        """Read every row from the storage."""
        self._stale = True
        self._rows = self._new_rows()
        total = self._storage.count()
        with progress(total, "entry", f"open {self.path.stem if self.path else 'store'}") as job:
            for block in self._storage.load():
                self._rows.put(block)
                job.step(len(block.ids))
        self._stale = False

    def _compact(self) -> None:
        """Drop the tombstones."""
        plan = self._rows.plan_compaction()
        # Rows move in place, so without a file an interrupt must wait; ordinary writes never do
        # this.
        with nullcontext() if self._durable else uninterrupted():
            self._stale = True
            self._rows.compact(plan)
            self._stale = False

    def _compact_if_many(self) -> None:
        if self._rows.tombstones > self._rows.max_changes:
            with suppress(MemoryError):  # tombstones are harmless
                self._compact()

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreError("the store is closed: open it again with VectorStore(path=…)")
        if self._stale and not self._durable:
            self.close()
            raise StoreError(
                "the store in memory is closed: a change of it failed halfway, and there is no "
                "other copy of its entries: add them again, or give a store a path"
            )
        if self._storage.forked:
            self._storage.reopen()

    def _begin(self, *, write: bool = False) -> None:
        """Take the lock and begin a transaction.

        While another process writes, wait without the lock, so that searches continue.
        """
        until = None
        while True:
            begun = False
            self._lock.acquire()
            try:
                self._check_usable()
                begun = self._storage.begin(write=write)
            finally:
                if not begun:
                    self._lock.release()
            if begun:
                return
            until = until or Deadline(self.path or "", self._storage.patience)
            until.pause()

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Hold rows and storage in one consistent, current state."""
        self._begin()
        try:
            with self._storage.ending():
                self._catch_up()
                yield
        finally:
            self._storage.cancel()
            self._lock.release()

    @contextmanager
    def _changing(self) -> Iterator[list[Block]]:
        """Change both storage and rows from their current state, or neither.

        On failure or an interrupt after rows have changed, they are read again from the file.
        Without a file they are the only copy: unless the storage has committed, they are restored,
        and replaced rows are taken from the list.
        """
        self._begin(write=True)
        try:
            count, before = self._rows.begin_change(), list[Block]()
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
                        self._rows.undo(count, before)
                    self._stale = False
                raise
            if changed:
                self._compact_if_many()
        finally:
            self._storage.cancel()
            self._lock.release()

    def _catch_up(self) -> None:
        """Apply the changes of other stores to the rows; reload all rows if there are many."""
        if not self._stale and not self._storage.changed_elsewhere():
            return
        self.admit(self._storage)
        self._compact_if_many()
        known, self._stale = not self._stale, True
        changes = self._storage.changes(self._rows.max_changes) if known else None
        if changes is None:
            self._load()
        else:
            removed, put = changes
            self._rows.delete_rows([id for id in removed if id in self._rows.row_of])
            for block in put:
                self._rows.put(block)
        self._stale = False
        self.version += changes != ([], [])  # a checkpoint looks like a change
