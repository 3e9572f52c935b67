"""Opening: choose and open the backend for a store's path, url or memory."""

from __future__ import annotations

import re
from pathlib import Path

from conduit_lab.core import paths
from conduit_lab.core.errors import StoreError
from conduit_lab.core.spec import EmbedderProtocol
from conduit_lab.vectors import identity
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.embedding import check_dimension
from conduit_lab.vectors.frozen import Frozen
from conduit_lab.vectors.local import Local

# A drive of Windows has one letter: C:\notes.db is a path.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def resolve(path: str | Path) -> Path:
    """Return where a store's file lies; raise `StoreError` for a URL or SQLite's name for memory."""
    text = str(path)
    scheme = _SCHEME.match(text)
    if text == ":memory:" or (text.startswith("file:") and ":memory:" in text):
        raise StoreError(
            f"path={text!r} would be a file of that name: a store in memory is VectorStore() without a path"
        )
    if scheme is not None and scheme[1].lower() in ("postgresql", "postgres", "qdrant", "qdrants"):
        # Not the URL itself: it may have a password in it.
        raise StoreError(
            f"path= is a {scheme[1]} URL: a store on a server is VectorStore.connect(url), and path= is for files"
        )
    if scheme is not None or text.startswith("file:"):
        kind = (
            "file"
            if text.startswith("file:")
            else text[: len(scheme[1])]
            if scheme is not None
            else ""
        )
        raise StoreError(
            f"path= is a {kind} URL: expected the path of a file, or VectorStore.connect(url) for a store on a server"
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
    """Open the store at a URL, in a file or folder, or in memory where neither is given, and verify its embedder."""
    dimension = check_dimension(dimension, embedder)
    backend: Backend
    if url is not None:
        from conduit_lab.vectors.remote.connect import connect  # its drivers are an extra

        backend = connect(url, dimension, metric, name)
    elif path is not None and path.is_dir():
        backend = Frozen(path, dimension, metric)
    else:
        backend = Local(path, dimension, metric, durability=durability)
    try:
        identity.verify(backend, embedder, name, reembed)
    except BaseException:
        backend.close()
        raise
    return backend
