"""Format 1 of a store's file: no full-text index, one checksum per entry. Only upgraded."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from zlib import crc32

import numpy as np

from conduit_lab.vectors.batch import Fields
from conduit_lab.vectors.disk import record, schema
from conduit_lab.vectors.disk.record import Damaged

_READ = (
    "SELECT id, embedding, metadata, content, created_at, updated_at, checksum "
    "FROM entries_1 ORDER BY seq"
)


def _entries(connection: sqlite3.Connection) -> Iterator[Fields]:
    """Yield the fields of every entry in `entries_1`, in insertion order; raises `Damaged`."""
    for row in connection.execute(_READ):
        id, embedding, metadata, content, created_at, updated_at, checksum = row
        text = f"{id}\0{metadata}" if content is None else f"{id}\0{metadata}\0{content}"
        if crc32(text.encode(), crc32(embedding)) != checksum:
            raise Damaged(f"entry {id!r} has a wrong checksum")
        vector = np.frombuffer(embedding, "<f4")
        yield id, vector, json.loads(metadata), content, created_at, updated_at


def upgrade_format(
    connection: sqlite3.Connection, path: Path | str, dimension: int, meta: Mapping[str, str]
) -> None:
    """Upgrade the file at `path` to the current format atomically, with `meta` as its metadata."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT value FROM meta WHERE name = 'format'").fetchone() != ("1",):
            return  # another process has upgraded it
        connection.execute("ALTER TABLE entries RENAME TO entries_1")
        for statement in schema.ENTRY_TABLES:
            connection.execute(statement)
        rows = (record.to_row(each, dimension) for each in _entries(connection))
        connection.executemany(record.INSERT, rows)
        connection.execute("DROP TABLE entries_1")
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
        schema.check_schema(connection, path)
