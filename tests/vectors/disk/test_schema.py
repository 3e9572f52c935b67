"""A store's file has exactly the store schema, so nothing else can change written entries."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.store import VectorStore
from tests.vectors.disk.test_format_1 import make_format_1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "index.db"
    with VectorStore(2, path=path) as store:
        store.add("a", [1, 0], {"n": 1}, "kettle")
    return path


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def rewrite(path: Path, name: str, old: str, new: str) -> None:
    """Change the text of an object in the schema, as `ALTER TABLE` of other programs does."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        (sql,) = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = ?", (name,)
        ).fetchone()
        assert old in sql
        connection.execute(
            "UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql.replace(old, new), name)
        )


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("evil", "CREATE TRIGGER evil AFTER INSERT ON entries BEGIN DELETE FROM entries; END"),
        ("skip", "CREATE TRIGGER skip BEFORE INSERT ON entries BEGIN SELECT RAISE(IGNORE); END"),
        ("one", "CREATE UNIQUE INDEX one ON entries (metadata)"),
        ("words_added", "DROP TRIGGER words_added"),
    ],
)
def test_a_schema_that_changes_while_the_store_is_open_loses_nothing(
    path: Path, name: str, statement: str
) -> None:
    with VectorStore(path=path) as store:
        store.add("b", [0, 1], {"n": 2}, "lamp")
        run(path, statement)
        for use in (
            lambda: store.add("c", [1, 1], {"n": 1}, "spout"),
            lambda: store.search([1, 0]),
        ):
            with pytest.raises(StoreError, match=rf"index\.db: .*'{name}'"):
                use()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM entries ORDER BY seq").fetchall() == [
            ("a",),
            ("b",),
        ]


@pytest.mark.parametrize(
    ("kind", "name", "statement"),
    [
        (
            "trigger",
            "evil",
            "CREATE TRIGGER evil AFTER INSERT ON entries BEGIN DELETE FROM entries; END",
        ),
        (
            "trigger",
            "late",
            "CREATE TRIGGER late BEFORE DELETE ON entries BEGIN SELECT RAISE(IGNORE); END",
        ),
        (
            "trigger",
            "log",
            "CREATE TRIGGER log AFTER INSERT ON changes BEGIN DELETE FROM changes; END",
        ),
        (
            "trigger",
            "changes_x",
            "CREATE TRIGGER changes_x AFTER UPDATE ON meta BEGIN SELECT 1; END",
        ),
        (
            "trigger",
            "words_x",
            "CREATE TRIGGER words_x INSTEAD OF DELETE ON texts BEGIN SELECT 1; END",
        ),
        ("index", "one", "CREATE UNIQUE INDEX one ON entries (content)"),
        ("view", "mine", "CREATE VIEW mine AS SELECT id FROM entries"),
        (
            "table",
            "notes",
            "CREATE TABLE notes (id TEXT REFERENCES entries (id) ON DELETE RESTRICT)",
        ),
        ("table", "more", "CREATE VIRTUAL TABLE more USING fts5 (content)"),
    ],
)
def test_a_foreign_object_is_refused_by_its_name(
    path: Path, kind: str, name: str, statement: str
) -> None:
    run(path, statement)
    content = path.read_bytes()
    with pytest.raises(
        StoreError,
        match=rf"index\.db: the {kind} '{name}.*' does not belong to a store.*DROP {kind.upper()}",
    ):
        VectorStore(path=path)
    assert path.read_bytes() == content
    run(path, f"DROP {kind} {name}")
    with VectorStore(path=path) as store:
        store.add("b", [1, 0])
        assert [hit.id for hit in store.search([1, 0])] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "statements"),
    [
        ("entries", ["ALTER TABLE entries ADD COLUMN mine TEXT"]),
        ("entries", ["ALTER TABLE entries ADD COLUMN twice TEXT AS (id || id) VIRTUAL"]),
        ("entries", ["ALTER TABLE entries ADD COLUMN more INTEGER CHECK (more > 0)"]),
        ("entries", ["ALTER TABLE entries RENAME COLUMN content TO text"]),
        ("meta", ["ALTER TABLE meta ADD COLUMN mine TEXT"]),
        ("meta", ["ALTER TABLE meta RENAME TO old", "CREATE VIEW meta AS SELECT * FROM old"]),
        (
            "texts",
            [
                "DROP VIEW texts",
                "CREATE VIEW texts AS SELECT seq, content FROM entries WHERE seq > 1",
            ],
        ),
        ("words_added", ["DROP TRIGGER words_added"]),
        (
            "words_added",
            [
                "DROP TRIGGER words_added",
                "CREATE TRIGGER words_added AFTER INSERT ON entries BEGIN SELECT 1; END",
            ],
        ),
        ("changes_pruned", ["DROP TRIGGER changes_pruned"]),
    ],
)
def test_a_changed_or_missing_object_is_refused(
    path: Path, name: str, statements: list[str]
) -> None:
    run(path, *statements)
    with pytest.raises(
        StoreError, match=r"index\.db: (the store file is damaged|the table 'old' does not belong)"
    ):
        VectorStore(path=path)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("entries", "id TEXT NOT NULL UNIQUE", "id TEXT NOT NULL"),
        (
            "entries",
            "metadata TEXT NOT NULL",
            "metadata TEXT NOT NULL CHECK (length(metadata) < 9)",
        ),
        ("entries", ") STRICT", ")"),
        ("words", "porter unicode61", "unicode61"),
    ],
)
def test_a_rewritten_table_is_refused(path: Path, name: str, old: str, new: str) -> None:
    rewrite(path, name, old, new)
    with pytest.raises(StoreError, match=r"index\.db: the store file is damaged"):
        VectorStore(path=path)


def test_statistics_of_analyze_are_no_matter(path: Path) -> None:
    run(path, "ANALYZE")
    with VectorStore(path=path) as store:
        store.add("b", [1, 0], content="kettle")
        assert [hit.id for hit in store.search("kettle", mode="lexical")] == ["a", "b"]


@pytest.mark.parametrize("table", ["entries", "meta"])
def test_a_file_of_format_1_with_a_foreign_object_stays_as_it_is(
    tmp_path: Path, table: str
) -> None:
    path = tmp_path / "old.db"
    make_format_1(path)
    run(path, f"CREATE VIEW foreign_view AS SELECT * FROM {table}")
    content = path.read_bytes()
    with pytest.raises(StoreError, match=r"old\.db"):
        VectorStore(path=path)
    assert path.read_bytes() == content


def test_a_snapshot_with_a_foreign_object_is_refused(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with VectorStore(path=path) as store:
        store.save_to(copy)
    run(copy, "CREATE TRIGGER evil AFTER INSERT ON entries BEGIN DELETE FROM entries; END")
    with pytest.raises(
        StoreError, match=r"copy\.db: the trigger 'evil' does not belong to a store"
    ):
        VectorStore(path=copy)
    assert copy.read_bytes()[18:20] == b"\1\1"  # it was not converted to a file with a log
