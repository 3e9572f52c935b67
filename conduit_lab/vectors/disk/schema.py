"""Schema: the exact tables, triggers and full-text index of a store's file."""

from __future__ import annotations

import secrets
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk import changes, lexical, record
from conduit_lab.vectors.disk.sqlite_errors import damaged
from conduit_lab.vectors.index.scoring import METRICS

_META = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT"
ENTRY_TABLES: tuple[str, ...] = (record.TABLE, *lexical.WORDS_SCHEMA)
_TABLES: tuple[str, ...] = (_META, *ENTRY_TABLES)
# For a file that could not be upgraded.
_UNFOLDED: tuple[str, ...] = (_META, record.TABLE, *lexical.UNFOLDED)

# Created by FTS5, in SQL that depends on the version of SQLite.
_SHADOWS = frozenset(f"words_{name}" for name in ("data", "idx", "docsize", "config", "content"))

# A row of 384 dimensions takes a fifth of such a page; of SQLite's default of 4,096 bytes a fifth
# would stay empty.
_PAGE_BYTES = 8_192

_OBJECTS = "SELECT name, type, sql FROM sqlite_schema"


def create(connection: sqlite3.Connection, meta: Mapping[str, str]) -> None:
    """Create the tables of an empty store, with `meta` as its metadata."""
    lexical.register_fold(connection)
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    with connection:
        connection.execute("BEGIN")
        for statement in _TABLES:
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())


def identify(connection: sqlite3.Connection) -> None:
    """Write a random number to the header, which identifies the file to `livefile`."""
    connection.execute(f"PRAGMA application_id = {secrets.randbits(31)}")


def identify_copy(connection: sqlite3.Connection) -> None:
    """Write a number derived from the content, so equal copies are equal files.

    The last change's random stamp represents the entries. A store without a change log gets a
    random number.
    """
    if "changes" not in _objects(connection):
        identify(connection)
        return
    last = connection.execute(changes.LAST).fetchone()
    notes = connection.execute("SELECT name, value FROM meta ORDER BY name").fetchall()
    number = zlib.crc32(repr((last, notes)).encode("utf-8", "surrogatepass")) >> 1
    connection.execute(f"PRAGMA application_id = {number}")


def check_schema(connection: sqlite3.Connection, path: Path | str) -> bool:
    """Return whether a file has the change log; raise `StoreError` for a foreign schema.

    A foreign trigger, view or index can change or lose entries as they are written.
    """
    found = _objects(connection)
    logged = any(name.startswith("changes") for name in found)
    tables = _UNFOLDED if found.get("texts") == ("view", lexical.UNFOLDED[0]) else _TABLES
    expected = _expected((*tables, *changes.CHANGES_SCHEMA) if logged else tables)
    for name, (kind, _) in found.items():
        # The tables of ANALYZE do not affect writes.
        if name not in expected and not name.startswith("sqlite_stat"):
            raise StoreError(
                f"{path}: the {kind} {name!r} does not belong to a store, and may change entries "
                f'as they are written: remove it with DROP {kind.upper()} "{name}", or restore '
                "the file from a copy"
            )
    for name, (kind, _) in expected.items():
        if found.get(name) != expected[name]:
            raise damaged(path, f"its tables are not the original ones: {kind} {name!r}")
    return logged


def read_meta(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the rows of the table `meta`."""
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def check_meta(found: Mapping[str, str], expected: Mapping[str, str], path: Path | str) -> None:
    """Raise `StoreError` unless `meta` has the expected values, a dimension and a metric."""
    for name, value in expected.items():
        if found.get(name) != value:
            raise StoreError(
                f"{path}: expected a store file with {name} {value}, got {found.get(name)}: "
                f"use the {name} that it was created with, or choose another path"
            )
    if not found.get("dimension", "").isdecimal() or found.get("metric") not in METRICS:
        raise damaged(path, "its dimension or metric is missing")


def _objects(connection: sqlite3.Connection) -> dict[str, tuple[str, str | None]]:
    rows = connection.execute(_OBJECTS)
    return {name: (kind, None if name in _SHADOWS else sql) for name, kind, sql in rows}


@cache
def _expected(statements: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements:
            connection.execute(statement)
        return _objects(connection)
