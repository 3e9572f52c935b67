"""Schema: the tables, triggers and index of words that a store's file has, these and no others."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk import changes, lexical, record
from conduit_lab.vectors.disk.sqlite_errors import damaged
from conduit_lab.vectors.index.scoring import METRICS

_META = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT"
ROWS: tuple[str, ...] = (record.TABLE, *lexical.SCHEMA)
TABLES: tuple[str, ...] = (_META, *ROWS)
_UNFOLDED: tuple[str, ...] = (
    _META,
    record.TABLE,
    *lexical.UNFOLDED,
)  # of a file that could not be upgraded

# FTS5 makes them, in words that depend on SQLite's version.
_SHADOWS = frozenset(f"words_{name}" for name in ("data", "idx", "docsize", "config", "content"))

# A row of 384 dimensions takes a fifth of such a page; of SQLite's 4,096 bytes a fifth would be
# left empty.
_PAGE = 8_192

_OBJECTS = "SELECT name, type, sql FROM sqlite_schema"


def create(connection: sqlite3.Connection, meta: Mapping[str, str]) -> None:
    """Make the tables of an empty store, with these rows in `meta`."""
    lexical.register(connection)
    connection.execute(f"PRAGMA page_size = {_PAGE}")
    with connection:
        connection.execute("BEGIN")
        for statement in TABLES:
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())


def identify(connection: sqlite3.Connection) -> None:
    """Give a file a random number in its header, by which `livefile` knows it from others."""
    connection.execute(f"PRAGMA application_id = {secrets.randbits(31)}")


def check(connection: sqlite3.Connection, path: Path | str) -> bool:
    """Return whether a file keeps the log of changes; raise `StoreError` unless its schema is that
    of a store.

    A foreign trigger, view or index can change or lose entries as they are written.
    """
    found = _objects(connection)
    logged = any(name.startswith("changes") for name in found)
    tables = _UNFOLDED if found.get("texts") == ("view", lexical.UNFOLDED[0]) else TABLES
    expected = _expected((*tables, *changes.SCHEMA) if logged else tables)
    for name, (kind, _) in found.items():
        if name not in expected and not name.startswith(
            "sqlite_stat"
        ):  # what ANALYZE leaves changes no write
            raise StoreError(
                f"{path}: the {kind} {name!r} does not belong to a store, and may change entries as they are written: "
                f'remove it with DROP {kind.upper()} "{name}", or restore the file from a copy'
            )
    for name, (kind, _) in expected.items():
        if found.get(name) != expected[name]:
            raise damaged(path, f"its tables are not as they were made: {kind} {name!r}")
    return logged


def read_meta(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the rows of the table `meta`."""
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def check_meta(found: Mapping[str, str], expected: Mapping[str, str], path: Path | str) -> None:
    """Raise `StoreError` unless a file is of the kind that is expected, and says its dimension and metric."""
    for name, value in expected.items():
        if found.get(name) != value:
            raise StoreError(
                f"{path}: this store file has {name} {found.get(name)}, wanted {value}: "
                f"use the {name} it was made with, or choose another path"
            )
    if not found.get("dimension", "").isdecimal() or found.get("metric") not in METRICS:
        raise damaged(path, "it does not say its dimension and metric")


def _objects(connection: sqlite3.Connection) -> dict[str, tuple[str, str | None]]:
    rows = connection.execute(_OBJECTS)
    return {name: (kind, None if name in _SHADOWS else sql) for name, kind, sql in rows}


@cache
def _expected(statements: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements:
            connection.execute(statement)
        return _objects(connection)
