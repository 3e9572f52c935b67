"""Copies: new store files, empty or with the entries of an open store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from itertools import chain, starmap
from pathlib import Path

import numpy as np

from conduit_lab.core.errors import StoreError
from conduit_lab.core.files import atomic_file, atomic_new_file
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.disk import record, schema

_NO_EMBEDDING: FloatArray = np.empty(0, np.float32)


def create_store(path: Path, meta: Mapping[str, str]) -> None:
    """Create the file of a new store atomically, unless it exists."""
    log = Path(f"{path}-wal")
    had_log = log.exists()
    if path.exists():
        return
    if had_log:
        # SQLite would replay the old log into the new file.
        raise StoreError(
            f"{log} is left over from a deleted store: close the store that uses it, or remove it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        suppress(FileExistsError),
        atomic_new_file(path) as temporary,
        closing(sqlite3.connect(temporary)) as new,
    ):
        schema.create(new, meta)
        schema.identify(new)
        new.execute("PRAGMA journal_mode = WAL")


def copy_store(
    source: sqlite3.Connection,
    path: Path,
    meta: Mapping[str, str],
    embeddings: Iterable[FloatArray] | None,
    *,
    replace: bool,
) -> None:
    """Write a complete copy of a store to one file; `replace` allows replacing an older copy.

    `embeddings`, blocks `[n, dimension]` in insertion order, are required for a source without
    them; `meta` are then the first rows of the table `meta`.
    """
    placed = atomic_file if replace else atomic_new_file
    with placed(path) as temporary, closing(sqlite3.connect(temporary)) as copy:
        if embeddings is None:
            source.backup(copy)
        else:
            schema.create(copy, meta)
            _copy_entries(source, copy, chain.from_iterable(embeddings))
            with copy:
                notes = source.execute("SELECT name, value FROM meta")
                copy.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", notes)
        schema.identify_copy(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def unopened(path: Path) -> bytes:
    """Return the content of a copy without the change that opening it makes to its header.

    The switch to a write-ahead log sets both format versions from 1 to 2, and counts itself as a
    change (fileformat2.html, 1.3).
    """
    content = bytearray(path.read_bytes())
    if content[18:20] == b"\2\2":
        content[18:20] = b"\1\1"
        for place in (slice(24, 28), slice(92, 96)):
            count = int.from_bytes(content[place], "big") - 1
            content[place] = (count % 2**32).to_bytes(4, "big")
    return bytes(content)


def copy_without_embeddings(
    source: sqlite3.Connection, path: Path, meta: Mapping[str, str]
) -> list[str]:
    """Write a new file for a snapshot; return its ids in insertion order."""
    with closing(sqlite3.connect(path)) as copy:
        schema.create(copy, meta)
        _copy_entries(source, copy, None)
        with copy:
            embedder = "SELECT name, value FROM meta WHERE name LIKE 'embedder.%'"
            copy.executemany("INSERT INTO meta VALUES (?, ?)", source.execute(embedder))
        return [id for (id,) in copy.execute("SELECT id FROM entries ORDER BY seq")]


def _copy_entries(
    source: sqlite3.Connection, copy: sqlite3.Connection, embeddings: Iterable[FloatArray] | None
) -> None:
    """Write every entry to `copy`, with the given embeddings or none."""
    rows = source.execute(f"SELECT {record.WITHOUT_EMBEDDING} FROM entries ORDER BY seq")
    pairs = (
        ((row, _NO_EMBEDDING) for row in rows)
        if embeddings is None
        else zip(rows, embeddings, strict=True)
    )
    with copy:
        copy.executemany(record.INSERT, starmap(record.with_embedding, pairs))
