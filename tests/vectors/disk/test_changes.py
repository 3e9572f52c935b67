"""The log of changes: a connection sees another's writes, exactly or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk import changes, lexical, record
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.entry import Entry
from tests.vectors.disk.test_format_1 import make_format_1


def entry(id: str, value: float = 1.0) -> Entry:
    return Entry(id, np.full(8, value, np.float32), {"value": value}, f"text {value}", 1.0, 1.0)


def told(storage: Storage, most: int = 100) -> Any:
    """The changes of others: removed ids, and the id, first value and metadata of entries put."""
    found = storage.changes(most)
    if found is None:
        return None
    removed, blocks = found
    return removed, [
        (id, vector[0], metadata["value"])
        for block in blocks
        for id, vector, metadata in zip(block.ids, block.vectors, block.metadatas, strict=True)
    ]


def forget_changes(path: Path) -> None:
    """Make a file as it was before there was a log."""
    with closing(sqlite3.connect(path)) as connection:
        for name in ("added", "replaced", "removed"):
            connection.execute(f"DROP TRIGGER changes_{name}")
        connection.execute("DROP TABLE changes")


def lag(path: Path, count: int) -> None:
    """Log `count` changes of what is not there any more."""
    series = f"SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}"
    numbers = f"WITH RECURSIVE n (i) AS ({series}) SELECT i FROM n"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            f"INSERT INTO changes (stamp, put) SELECT random(), 1000 FROM ({numbers})"
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def pair(path: Path) -> Iterator[tuple[Storage, Storage]]:
    """A writer and a follower; both know the entries a to e."""
    one, two = Storage(path, 8), Storage(path, 8)
    one.put([entry(id) for id in "abcde"])
    list(two.load())
    yield one, two
    one.close()
    two.close()


def test_what_others_changed_is_told_once(pair: tuple[Storage, Storage]) -> None:
    one, two = pair
    one.put([entry("f", 2), entry("b", 3)])
    one.put([entry("g", 4), entry("f", 5)])
    one.remove(["a", "c", "g"])
    one.put([entry("c", 6)])
    assert two.changed_elsewhere()
    assert told(two) == (["a", "c", "g"], [("b", 3, 3), ("f", 5, 5), ("c", 6, 6)])
    assert not two.changed_elsewhere()
    assert told(two) == ([], [])


def test_a_place_that_was_free_again_is_another_entrys(pair: tuple[Storage, Storage]) -> None:
    one, two = pair
    one.remove(["d", "e"])
    one.put([entry("x"), entry("d")])
    assert told(two) == (["d", "e"], [("x", 1, 1), ("d", 1, 1)])


def test_own_changes_are_not_told(pair: tuple[Storage, Storage]) -> None:
    one, two = pair
    one.put([entry("f")])
    with two.transaction(write=True):
        assert told(two) == ([], [("f", 1, 1)])
        two.put([entry("g")])
        two.remove(["a"])
    assert not two.changed_elsewhere()
    assert told(two) == ([], [])
    assert told(one) == (["a"], [("g", 1, 1)])


def test_who_writes_without_asking_first_is_told_to_load(pair: tuple[Storage, Storage]) -> None:
    one, two = pair
    one.put([entry("f")])
    two.put([entry("g")])
    assert two.changed_elsewhere()
    assert told(two) is None


def test_what_was_undone_is_not_told_and_who_undid_it_loads(pair: tuple[Storage, Storage]) -> None:
    one, two = pair
    with pytest.raises(MemoryError), one.transaction(write=True):
        one.put([entry("f")])
        raise MemoryError
    assert not two.changed_elsewhere()
    two.put([entry("g")])
    assert one.changed_elsewhere()
    assert told(one) is None


def test_more_than_is_wanted_is_not_told(pair: tuple[Storage, Storage]) -> None:
    one, two = pair
    for most in (2, 3):
        one.put([entry("f"), entry("g"), entry("a")])
        assert (told(two, most) is None) == (most == 2)


def test_what_was_pruned_is_not_told_and_the_log_stays_short(
    pair: tuple[Storage, Storage], path: Path
) -> None:
    one, two = pair
    lag(path, changes.MAX_CHANGES - 2_048)
    assert told(two, 100_000) == ([], [])
    lag(path, changes.MAX_CHANGES + 2_048)
    one.put([entry("f")])
    assert told(two, 1_000_000) is None
    with closing(sqlite3.connect(path)) as connection:
        [count] = connection.execute("SELECT count(*) FROM changes").fetchone()
    assert changes.MAX_CHANGES <= count < changes.MAX_CHANGES + 1_024


@pytest.mark.parametrize("later", [0, 1, 9])
def test_another_file_written_over_this_one_is_not_told(
    pair: tuple[Storage, Storage], tmp_path: Path, later: int
) -> None:
    one, two = pair
    one.copy_to(tmp_path / "copy.db")
    for i in range(3):
        one.put([entry("f", i)])
    assert told(two) == ([], [("f", 2, 2)])
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        copy.backup(one._connection)
    for i in range(later):
        one.put([entry("g", i)])
    assert two.changed_elsewhere()
    assert told(two) is None


def test_a_file_without_a_log_gets_one(path: Path) -> None:
    storage = Storage(path, 8)
    storage.put([entry("a")])
    storage.close()
    forget_changes(path)
    one, two = Storage(path, 8), Storage(path, 8)
    for storage in (one, two):
        assert [block.ids for block in storage.load()] == [["a"]]
    one.put([entry("b")])
    assert told(two) == ([], [("b", 1, 1)])
    one.close()
    two.close()


def test_an_upgraded_file_has_one(path: Path) -> None:
    make_format_1(path)
    one, two = Storage(path), Storage(path)
    one.put([entry("first"), entry("b")])
    assert told(two) == ([], [("first", 1, 1), ("b", 1, 1)])
    one.close()
    two.close()


def test_where_no_log_can_be_kept_nothing_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    Storage(path, 8).close()
    forget_changes(path)
    with monkeypatch.context() as patch:
        patch.setattr(changes, "start_log", refused)
        two = Storage(path, 8)
    one = Storage(path, 8)  # which has a change log from now on
    one.put([entry("a")])
    assert two.changed_elsewhere()
    assert told(two) is None
    assert [block.ids for block in two.load()] == [["a"]]
    two.put([entry("b")])
    assert told(one) == ([], [("b", 1, 1)])
    one.close()
    two.close()


def test_a_writer_that_knows_of_no_log_is_told_of(
    pair: tuple[Storage, Storage], path: Path
) -> None:
    """An older version opens the file and writes as ever."""
    _, two = pair
    new = entry("f", 2)
    with closing(sqlite3.connect(path)) as connection, connection:
        lexical.register_fold(connection)
        connection.execute(
            record.UPSERT,
            record.to_row((new.id, new.embedding, new.metadata, new.content, 1.0, 1.0), 8),
        )
        connection.execute("DELETE FROM entries WHERE id = 'a'")
    assert told(two) == (["a"], [("f", 2, 2)])


@pytest.mark.parametrize(
    "statement", ["DROP TRIGGER changes_added", "DROP TRIGGER changes_pruned", "DROP TABLE changes"]
)
def test_a_log_that_was_changed_is_refused(path: Path, statement: str) -> None:
    Storage(path, 8).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
    with pytest.raises(
        StoreError,
        match=r"index\.db: the store file is damaged \(its tables are not the original ones",
    ):
        Storage(path, 8)


def test_in_memory_and_in_a_snapshot_there_is_no_log(path: Path) -> None:
    storage = Storage(None, 8)
    storage.put([entry("a")])
    assert "changes" not in names(storage._connection)
    storage.copy_for_snapshot(path)
    storage.close()
    with closing(sqlite3.connect(path)) as connection:
        assert "changes" not in names(connection)


def names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
