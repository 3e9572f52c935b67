"""Format 1 of a store's file: no word index, one checksum over a whole entry. It is only read, to be upgraded."""

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

_READ = "SELECT id, embedding, metadata, content, created_at, updated_at, checksum FROM entries_1 ORDER BY seq"


def entries(connection: sqlite3.Connection) -> Iterator[Fields]:
    """Yield the fields of every entry of the table, renamed `entries_1`, in the order of adding; raises `Damaged`."""
    for id, embedding, metadata, content, created_at, updated_at, checksum in connection.execute(
        _READ
    ):
        text = f"{id}\0{metadata}" if content is None else f"{id}\0{metadata}\0{content}"
        if crc32(text.encode(), crc32(embedding)) != checksum:
            raise Damaged(f"entry {id!r} has a wrong checksum")
        yield (
            id,
            np.frombuffer(embedding, "<f4"),
            json.loads(metadata),
            content,
            created_at,
            updated_at,
        )


def upgrade(
    connection: sqlite3.Connection, path: Path | str, dimension: int, meta: Mapping[str, str]
) -> None:
    """Make the file at `path` one of the current format with these rows in `meta`, all of it or nothing."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT value FROM meta WHERE name = 'format'").fetchone() != ("1",):
            return  # another process was faster
        connection.execute("ALTER TABLE entries RENAME TO entries_1")
        for statement in schema.ROWS:
            connection.execute(statement)
        rows = (record.row(each, dimension) for each in entries(connection))
        connection.executemany(record.INSERT, rows)
        connection.execute("DROP TABLE entries_1")
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
        schema.check(connection, path)
