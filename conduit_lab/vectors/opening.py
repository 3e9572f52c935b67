"""Opening: the backend for a store's path or URL, or in memory."""

from __future__ import annotations

import re
from pathlib import Path

from conduit_lab.core import paths
from conduit_lab.core.errors import StoreError
from conduit_lab.core.spec import EmbedderProtocol
from conduit_lab.vectors import identity
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.embedding import check_dimension
from conduit_lab.vectors.local_backend import LocalBackend
from conduit_lab.vectors.snapshot_backend import SnapshotBackend

# A Windows drive has one letter: C:\notes.db is a path.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def resolve_store_path(path: str | Path) -> Path:
    """Return the absolute path of a store's file.

    Raises `StoreError` for a URL or SQLite's `:memory:`.
    """
    text = str(path)
    scheme = _SCHEME.match(text)
    if text == ":memory:" or (text.startswith("file:") and ":memory:" in text):
        raise StoreError(
            f"path={text!r} would be a file of that name: a store in memory is VectorStore() "
            "without a path"
        )
    if scheme is not None and scheme[1].lower() in ("postgresql", "postgres", "qdrant", "qdrants"):
        # Not the URL itself: it may contain a password.
        raise StoreError(
            f"path= is a {scheme[1]} URL: a store on a server is VectorStore.connect(url), and "
            "path= is for files"
        )
    if scheme is not None or text.startswith("file:"):
        kind = "file" if scheme is None else scheme[1]
        raise StoreError(
            f"path= is a {kind} URL: expected the path of a file, or VectorStore.connect(url) for "
            "a store on a server"
        )
    return paths.resolve(path)


def open_backend(
    url: str | None,
    path: Path | None,
    name: str,
    dimension: int | None,
    metric: str | None,
    embedder: EmbedderProtocol | None,
    durability: str,
    reembed: bool,
) -> Backend:
    """Open the store at a URL, in a file or folder, or in memory; verify its embedder."""
    dimension = check_dimension(dimension, embedder)
    backend: Backend
    if url is not None:
        from conduit_lab.vectors.remote.connect import connect_backend  # drivers are an extra

        backend = connect_backend(url, dimension, metric, name)
    elif path is not None and path.is_dir():
        backend = SnapshotBackend(path, dimension, metric)
    else:
        backend = LocalBackend(path, dimension, metric, durability=durability)
    try:
        identity.verify(backend, embedder, name, reembed)
    except BaseException:
        backend.close()
        raise
    return backend
