"""Files of format 1 are upgraded when they are opened, whole or not at all."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk.storage import Storage

CONTENT = [
    ("first", [1.0] * 8, {"n": 1}, "Kettles boil.", 3.0, 4.0),
    ("last", [1.0] * 8, {}, None, 1.0, 2.0),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


def make_format_1(path: Path) -> None:
    """A file of the first version, with two entries of dimension 8 and its checksums."""
    connection = sqlite3.connect(path)
    connection.executescript("""
        CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
        CREATE TABLE entries (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, embedding BLOB NOT NULL,
            metadata TEXT NOT NULL, content TEXT, created_at REAL NOT NULL,
            updated_at REAL NOT NULL, checksum INTEGER NOT NULL
        ) STRICT;
        INSERT INTO meta VALUES ('format', '1'), ('dimension', '8'), ('metric', 'cosine');
    """)
    ones = np.ones(8, "<f4").tobytes()
    rows = [
        (9, "last", ones, "{}", None, 1.0, 2.0, 1268309944),
        (2, "first", ones, '{"n": 1}', "Kettles boil.", 3.0, 4.0, 715116634),
    ]
    with connection:
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()


def test_a_file_of_format_1_is_upgraded(path: Path) -> None:
    make_format_1(path)
    with pytest.raises(StoreError, match="with dimension 9, got 8"):
        Storage(path, 9, "cosine")
    for _ in range(2):
        storage = Storage(path)
        assert (storage.dimension, storage.metric) == (8, "cosine")
        assert read(storage) == CONTENT
        assert [id for id, _ in storage.lexical("kettle", 5)] == ["first"]
        storage.close()


def test_a_damaged_file_of_format_1_stays_as_it_is(path: Path) -> None:
    make_format_1(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE entries SET metadata = '{\"n\": 2}' WHERE seq = 2")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(
        StoreError,
        match=r"index\.db: the store file is damaged \(entry 'first' has a wrong checksum",
    ):
        Storage(path, 8, "cosine")
    assert path.read_bytes() == content


def test_several_may_upgrade_one_file(path: Path) -> None:
    make_format_1(path)
    with ThreadPoolExecutor(4) as pool:
        storages = list(pool.map(lambda _: Storage(path, 8, "cosine"), range(4)))
    for storage in storages:
        assert read(storage) == CONTENT
        storage.close()


def read(storage: Storage) -> list[Any]:
    entries = storage.get([id for block in storage.load() for id in block.ids])
    return [
        (e.id, e.embedding.tolist(), e.metadata, e.content, e.created_at, e.updated_at)
        for e in entries
        if e is not None
    ]
