"""Snapshot backend: a read-only snapshot with memory-mapped vectors, shared between processes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

from conduit_lab.core import forking
from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.backend import Notes
from conduit_lab.vectors.disk.snapshot import Snapshot
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.entry_rows import EntryRows
from conduit_lab.vectors.index.index import Index
from conduit_lab.vectors.local_backend import LocalBackend

_RETRY_SECONDS = 10.0  # after failing to open a new version

_log = logging.getLogger("conduit_lab")


class SnapshotBackend(LocalBackend):
    """The entries of a snapshot's current version; the next call opens a new one."""

    _mapped = True

    def __init__(self, folder: Path, dimension: int | None, metric: str | None) -> None:
        self._folder = folder
        self._snapshot = Snapshot.open(folder, dimension, metric)
        self._swapping = threading.Lock()
        forking.free_in_child(self, "_swapping")
        self._retry_at = 0.0
        super().__init__(folder)

    @property
    def notes(self) -> Notes | None:
        """None: a snapshot has no notes."""
        return None

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Raise `StoreError`: a snapshot is read-only."""
        raise self._read_only()

    def delete(self, ids: Sequence[str]) -> int:
        """Raise `StoreError`: a snapshot is read-only."""
        raise self._read_only()

    def write_notes(self, prefix: str, changes: Mapping[str, str | None]) -> None:
        """Raise `StoreError`: a snapshot is read-only."""
        raise self._read_only()

    def _read_only(self) -> StoreError:
        return StoreError(
            f"{self._folder} is a snapshot, which is read-only: write to its store, then take "
            "the snapshot again with store.snapshot(path)"
        )

    def close(self) -> None:
        """Close and unmap the files; idempotent."""
        with self._lock:
            super().close()
            self._snapshot.close()

    def _open(self, dimension: int | None, metric: str | None, durability: str) -> Storage:
        return self._snapshot.storage

    def _new_rows(self) -> EntryRows:
        if self._closed:
            return super()._new_rows()
        vectors, codes = self._snapshot.vectors, self._snapshot.codes
        index = Index(self.dimension, self.metric, vectors=vectors, codes=codes)
        return EntryRows(index, mapped=True)

    def _begin(self, *, write: bool = False) -> None:
        if not self._closed and monotonic() >= self._retry_at and self._snapshot.replaced():
            self._swap()
        super()._begin(write=write)

    def _swap(self) -> None:
        """Open the current version; meanwhile other threads search the old one."""
        if not self._swapping.acquire(blocking=False):
            return
        try:
            newer = SnapshotBackend(self._folder, self.dimension, self.metric)
            try:
                self.admit(newer._storage)
            except StoreError:
                newer.close()
                raise
        except StoreError as error:
            self._retry_at = monotonic() + _RETRY_SECONDS
            _log.warning("the store continues with its current snapshot: %s", error)
            return
        finally:
            self._swapping.release()
        with self._lock:
            if self._closed:
                newer.close()
                return
            index, snapshot = self._rows.index, self._snapshot
            self._snapshot, self._storage = newer._snapshot, newer._storage
            self._rows = newer._rows
            self.version += 1
            index.close()
            snapshot.close()
