"""Frozen: the backend over a snapshot, for reading; its vectors are mapped, so that processes share them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from conduit_lab.core import forking
from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.backend import Notes
from conduit_lab.vectors.disk.snapshot import Snapshot
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.index.index import Index
from conduit_lab.vectors.local import Local

log = logging.getLogger("conduit_lab")

_AGAIN = 10.0  # seconds until a version that could not be opened is tried again


class Frozen(Local):
    """The entries of a snapshot's current version; one that takes its place is opened at the next call."""

    _mapped = True

    def __init__(self, folder: Path, dimension: int | None, metric: str | None) -> None:
        self._folder = folder
        self._snapshot = Snapshot.open(folder, dimension, metric)
        self._swapping = threading.Lock()
        forking.free_in_child(self, "_swapping")
        self._refused_until = 0.0
        super().__init__(folder)

    @property
    def notes(self) -> Notes | None:
        """A snapshot keeps none."""
        return None

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Refuse: a snapshot is for reading."""
        raise self._refusal()

    def delete(self, ids: Sequence[str]) -> int:
        """Refuse: a snapshot is for reading."""
        raise self._refusal()

    def write_notes(self, prefix: str, changes: Mapping[str, str | None]) -> None:
        """Refuse: a snapshot is for reading."""
        raise self._refusal()

    def _refusal(self) -> StoreError:
        return StoreError(
            f"{self._folder} is a snapshot, which is for reading: write to its store, then make it again"
        )

    def _open(self, dimension: int | None, metric: str | None, durability: str) -> Storage:
        return self._snapshot.storage

    def _clear(self) -> None:
        super()._clear()
        if not self._closed:
            self._index = Index(
                self.dimension,
                self.metric,
                vectors=self._snapshot.vectors,
                codes=self._snapshot.codes,
            )

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Hold the lock over the current version."""
        if not self._closed and monotonic() >= self._refused_until and self._snapshot.replaced():
            self._swap()
        with super()._fresh():
            yield

    def _swap(self) -> None:
        """Take what is current now; others search the old version meanwhile, since one is checked for seconds."""
        if not self._swapping.acquire(blocking=False):
            return
        try:
            newer = Frozen(self._folder, self.dimension, self.metric)
            try:
                self.admit(newer._storage)
            except StoreError:
                newer.close()
                raise
        except StoreError as error:
            self._refused_until = monotonic() + _AGAIN
            log.warning("the store goes on with the snapshot that it has: %s", error)
            return
        finally:
            self._swapping.release()
        with self._lock:
            if self._closed:
                newer.close()
                return
            index, snapshot = self._index, self._snapshot
            for name in (
                "_snapshot",
                "_storage",
                "_index",
                "_columns",
                "_ids",
                "_at",
                "_alive",
                "_numbers",
            ):
                setattr(self, name, getattr(newer, name))
            self.version += 1
            index.close()
            snapshot.close()
