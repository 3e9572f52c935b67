"""Base store: opening, copying, displaying and closing a vector store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from conduit_lab.core import forking
from conduit_lab.core.caller import check_tenant
from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.spec import EmbedderProtocol
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span import current
from conduit_lab.core.views.view import View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.vectors import identity
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.index.index import METRICS
from conduit_lab.vectors.local_backend import LocalBackend
from conduit_lab.vectors.opening import open_backend, resolve_store_path


class BaseStore(Viewed):
    """The part of `VectorStore` that holds its backend, which is opened on first use."""

    def __init__(
        self,
        dimension: int | None = None,
        metric: str | None = None,
        path: str | Path | None = None,
        embedder: EmbedderProtocol | None = None,
        name: str | None = None,
        *,
        durability: Literal["normal", "full"] = "normal",
        lazy: bool = False,
        reembed: bool = False,
    ) -> None:
        if metric not in (None, *METRICS):
            raise VectorInputError(
                f"a store's metric is one of {', '.join(METRICS)}, got {metric!r}"
            )
        if durability not in ("normal", "full"):
            raise VectorInputError(f"durability is 'normal' or 'full', got {durability!r}")
        self.path = None if path is None else resolve_store_path(path)
        self.url: str | None = None
        self.tenant: str | None = None  # the only tenant that may use it when served; None: all
        self.embedder = embedder
        self.name = name or (self.path.stem if self.path else "vectors")
        self.durability = durability
        self._dimension, self._metric = dimension, metric  # as passed
        self._backend: Backend | None = None
        self._verified: EmbedderProtocol | None = None  # known to have made the vectors
        self._reembed = reembed
        self._closed = False
        self._opening = threading.RLock()
        self._writing = threading.RLock()  # an update reads before it writes
        forking.free_in_child(self, "_opening", "_writing")
        if not lazy:
            self.open()

    @classmethod
    def connect(
        cls,
        url: str,
        dimension: int | None = None,
        metric: str | None = None,
        embedder: EmbedderProtocol | None = None,
        name: str | None = None,
        *,
        lazy: bool = False,
    ) -> Self:
        """Return a store whose entries are on a server; needs the `[remote]` extra.

        `qdrant://host:6333/collection` (`qdrants://` for TLS, the key in QDRANT_API_KEY) or
        `postgresql://user@host/database/table` with pgvector (the password in PGPASSWORD), created
        if missing. `dimension` and `metric` default to those of an existing store, and for a new
        one to the embedder's dimension and cosine.
        """
        store = cls(dimension, metric, embedder=embedder, name=name, lazy=True)
        store.url = url
        if not lazy:
            store.open()
        return store

    def open(self) -> Self:
        """Open or create the file or the connection, and read its rows; idempotent."""
        self._opened()
        return self

    def close(self) -> None:
        """Close the file and free the rows; idempotent."""
        with self._opening:
            self._closed = True
            if self._backend is not None:
                self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def dimension(self) -> int:
        """Length of one embedding."""
        return self._opened().dimension

    @property
    def metric(self) -> str:
        """The metric that compares vectors: cosine, dot, l2 or manhattan."""
        return self._metric or self._opened().metric

    @property
    def version(self) -> int:
        """A number that increases with every change."""
        return 0 if self._backend is None else self._backend.version

    # Copies

    def save_to(self, path: str | Path) -> Path:
        """Write a consistent copy to a new store file, atomically; return its absolute path.

        The copy gives the same answers. Raises `StoreError` if `path` exists.
        """
        return self._copied("save_to", path, LocalBackend.copy_to)

    def backup(self, path: str | Path) -> Path:
        """Write a copy like `save_to`, replacing an older one at `path`; return its path.

        Raises `StoreError` if `path` is this store's file, another open store, or not a store.
        """
        return self._copied(
            "backup", path, lambda local, target: local.copy_to(target, replace=True)
        )

    def snapshot(self, path: str | Path) -> Path:
        """Write a folder that `VectorStore(path=…)` opens read-only, vectors mapped; return it.

        A later snapshot replaces it atomically, and stores that serve it open the new version.
        """
        return self._copied("snapshot", path, LocalBackend.snapshot)

    def _copied(
        self, action: str, path: str | Path, write: Callable[[LocalBackend, Path], None]
    ) -> Path:
        target = resolve_store_path(path)
        with recorder.span(self.name, "write", self, target, store_write=self):
            write(self._local(action), target)
        return target

    # The backend

    def _opened(self) -> Backend:
        if self.tenant is not None:
            check_tenant(self.tenant, f"store {self.name!r}")
        if (here := current()) is not None:
            here.record.add(here.name, {"store_read": self})
        if self._closed:
            raise StoreError(
                f"store {self.name!r} is closed: open it again with VectorStore(path=…)"
            )
        if self._backend is None or self.embedder is not self._verified:
            with self._opening:
                embedder = self.embedder
                if self._backend is None:
                    options = self._dimension, self._metric, embedder, self.durability
                    self._backend = open_backend(
                        self.url, self.path, self.name, *options, self._reembed
                    )
                else:
                    identity.verify(self._backend, embedder, self.name)
                self._verified = embedder
        return self._backend

    def _local(self, action: str) -> LocalBackend:
        backend = self._opened()
        if not isinstance(backend, LocalBackend):
            raise StoreError(
                f"store {self.name!r} lives on a server: {action} is for stores of this process"
            )
        return backend

    # Views

    def _view(self) -> View:
        if self._backend is None:
            return View("VectorStore", self.name, ["closed" if self._closed else "not opened yet"])
        facts = self._backend.facts()
        if self.embedder is not None:
            facts.append(f"embedder {getattr(self.embedder, 'name', type(self.embedder).__name__)}")
        return View("VectorStore", self.name, facts)
