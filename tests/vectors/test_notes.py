"""Notes: texts beside the entries, in memory, in a file and in its copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab.vectors.store import VectorStore


def notes(store: VectorStore, prefix: str = "a ") -> dict[str, str]:
    kept = store._opened().notes
    assert kept is not None
    return kept.read_notes(prefix)


def write(store: VectorStore, changes: dict[str, str | None], prefix: str = "a ") -> None:
    kept = store._opened().notes
    assert kept is not None
    kept.write_notes(prefix, changes)


@pytest.mark.parametrize("name", [None, "store.db"])
def test_notes_are_kept_by_key_and_leave_the_entries_alone(
    tmp_path: Path, name: str | None
) -> None:
    with VectorStore(2, path=name and tmp_path / name) as store:
        store.add("x", [1, 2])
        version = store.version
        write(store, {"é": "1", "b%_*": "2", "": "3"})
        write(store, {"é": "4", "": None, "unknown": None})
        write(store, {"é": "5"}, prefix="aa ")
        assert notes(store) == {"é": "4", "b%_*": "2"}
        assert notes(store, "aa ") == {"é": "5"}
        assert (store.version, len(store)) == (version, 1)
        with VectorStore(path=store.save_to(tmp_path / "copy.db")) as copy:
            assert notes(copy) == {"é": "4", "b%_*": "2"}


def test_stores_that_share_a_file_share_its_notes(tmp_path: Path) -> None:
    with VectorStore(2, path=tmp_path / "a.db") as one, VectorStore(path=tmp_path / "a.db") as two:
        write(one, {"x": "1"})
        two.add("x", [1, 2])
        write(two, {"y": "2"})
        assert notes(one) == notes(two) == {"x": "1", "y": "2"}
        assert len(one) == 1
    with VectorStore(path=tmp_path / "a.db") as again:
        assert notes(again) == {"x": "1", "y": "2"}


def test_a_snapshot_keeps_none(tmp_path: Path) -> None:
    with VectorStore(2) as store:
        store.add("x", [1, 2])
        folder = store.snapshot(tmp_path / "frozen")
    with VectorStore(path=folder) as frozen:
        assert frozen._opened().notes is None
