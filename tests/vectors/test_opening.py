"""A store's path is a file or a folder, and no URL."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.opening import resolve_store_path
from conduit_lab.vectors.store import VectorStore


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "postgresql://host/db/notes",
            r"path= is a postgresql URL: .* VectorStore\.connect\(url\)",
        ),
        (
            "postgres://user:secret@host/db",
            r"path= is a postgres URL: .* VectorStore\.connect\(url\)",
        ),
        ("POSTGRESQL://host/db", r"path= is a POSTGRESQL URL: .* VectorStore\.connect\(url\)"),
        (
            Path("postgresql://host/db/notes"),
            r"path= is a postgresql URL: .* VectorStore\.connect\(url\)",
        ),
        ("qdrant://host:6333/notes", r"path= is a qdrant URL: .* VectorStore\.connect\(url\)"),
        ("qdrants://host/notes", r"path= is a qdrants URL: .* VectorStore\.connect\(url\)"),
        ("qdrant://:memory:/notes", r"path= is a qdrant URL: .* VectorStore\.connect\(url\)"),
        ("sqlite:///notes.db", r"path= is a sqlite URL: expected the path of a file"),
        ("s3://bucket/notes.db", r"path= is a s3 URL: expected the path of a file"),
        ("https://host/notes.db", r"path= is a https URL: expected the path of a file"),
        ("file:///tmp/notes.db", r"path= is a file URL: expected the path of a file"),
        ("file:notes.db?mode=ro", r"path= is a file URL: expected the path of a file"),
        (
            ":memory:",
            r"':memory:' would be a file of that name: a store in memory is VectorStore\(\)",
        ),
        ("file::memory:?cache=shared", r"a store in memory is VectorStore\(\)"),
    ],
)
def test_a_path_that_is_none_is_refused_and_makes_no_file(
    path: str | Path, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for lazy in (False, True):
        with pytest.raises(StoreError, match=message) as caught:
            VectorStore(2, path=path, lazy=lazy)
        assert "secret" not in str(caught.value)
    with VectorStore(2) as store:
        for write in (store.save_to, store.backup, store.snapshot):
            with pytest.raises(StoreError, match=message):
                write(path)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "path", [r"C:\notes\index.db", "C:/notes/index.db", "d:/x.db", "a b/c:d.db", "memory"]
)
def test_other_paths_are_paths(path: str) -> None:
    assert str(resolve_store_path(path)).endswith(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_with_a_colon_is_a_file(tmp_path: Path) -> None:
    with VectorStore(2, path=tmp_path / "notes:v1.db") as store:
        store.add("a", [1, 0])
    assert [file.name for file in tmp_path.iterdir()] == ["notes:v1.db"]
