"""Snapshots: whole, verified, and replaced while others read."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk import copies, snapshot
from conduit_lab.vectors.disk.snapshot import Snapshot
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.index.index import Index
from conduit_lab.vectors.store import VectorStore

VECTORS = np.random.default_rng(1).standard_normal((5_000, 8)).astype(np.float32)
QUERY = VECTORS[3:4]
ROOT = Path(__file__).parents[3]


class Rows:
    """The parts of a store: a storage, an index of its embeddings, and their ids."""

    def __init__(self, count: int, path: Path | None = None, shift: int = 0) -> None:
        self.storage = Storage(path, 8, "cosine")
        self.ids = [f"id {i}" for i in range(count)]
        vectors = VECTORS[:count] + np.float32(shift)
        rows = zip(self.ids, vectors, strict=True)
        self.storage.put(
            [Entry(id, row, {"n": shift}, f"text {shift}", 1.0, 2.0) for id, row in rows]
        )
        self.index = Index(8)
        self.index.append(vectors)
        self.alive = np.ones(count, np.bool_)
        assert sum(len(block.ids) for block in self.storage.load()) == count

    def write(self, folder: Path) -> Path:
        return snapshot.write_snapshot(folder, self.storage, self.index, self.alive, self.ids)

    def remove(self, at: int) -> None:
        self.storage.remove([self.ids[at]])
        self.storage.changes(100)  # a checkpoint may have come since they were loaded
        self.alive[at] = False


def write(folder: Path, count: int = 60, shift: int = 0) -> Path:
    rows = Rows(count, shift=shift)
    version = rows.write(folder)
    rows.storage.close()
    return version


def content(opened: Snapshot) -> list[Any]:
    ids = [id for block in opened.storage.load() for id in block.ids]
    assert opened.vectors.shape == (len(ids), 8)
    entries = opened.storage.get(ids)
    return [
        (e.id, row.tolist(), e.metadata, e.content, e.created_at, e.updated_at)
        for e, row in zip(entries, opened.vectors, strict=True)
        if e is not None
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshot"


@pytest.mark.parametrize("durable", [True, False])
def test_a_snapshot_holds_what_the_store_does(tmp_path: Path, folder: Path, durable: bool) -> None:
    rows = Rows(5_000, tmp_path / "index.db" if durable else None)
    for at in (0, 17, 4_999):
        rows.remove(at)
    version = rows.write(folder)
    assert version == folder / (folder / "current").read_text().strip()
    opened = Snapshot.open(folder, 8, "cosine")
    assert (opened.dimension, opened.metric) == (8, "cosine")
    kept = [i for i in range(5_000) if i not in (0, 17, 4_999)]
    assert content(opened) == [
        (f"id {i}", VECTORS[i].tolist(), {"n": 0}, "text 0", 1.0, 2.0) for i in kept
    ]
    assert opened.storage.lexical("text", 9_999) == rows.storage.lexical("text", 9_999)
    assert not opened.storage.changed_elsewhere()
    opened.close()
    rows.storage.close()


def test_an_index_goes_on_with_its_codes(folder: Path) -> None:
    rows = Rows(60)
    rows.write(folder)
    opened = Snapshot.open(folder)
    assert opened.codes.keys() == rows.index.codes().keys()
    assert all(
        np.array_equal(codes, opened.codes[name]) for name, codes in rows.index.codes().items()
    )
    index = Index(8, "cosine", vectors=opened.vectors, codes=opened.codes)
    [(found, scores)], [(wanted, best)] = (
        index.search(QUERY, 9).found,
        rows.index.search(QUERY, 9).found,
    )
    assert found.tolist() == wanted.tolist()
    assert scores.tolist() == best.tolist()
    index.close()
    opened.close()
    rows.storage.close()


def test_an_empty_store_has_a_snapshot(folder: Path) -> None:
    write(folder, 0)
    opened = Snapshot.open(folder)
    assert content(opened) == []
    assert len(Index(8, vectors=opened.vectors, codes=opened.codes)) == 0
    opened.close()


def test_a_snapshot_cannot_be_written_to(folder: Path) -> None:
    write(folder)
    opened = Snapshot.open(folder)
    with pytest.raises(
        StoreError,
        match=r"entries\.db: cannot write the store: attempt to write a readonly database",
    ):
        opened.storage.remove(["id 1"])
    with pytest.raises(ValueError, match="read-only"):
        opened.vectors[0] = 0
    opened.close()


def test_the_same_again_is_the_same_version(folder: Path) -> None:
    first = write(folder)
    opened = Snapshot.open(folder)
    times = [path.stat().st_mtime_ns for path in sorted(first.iterdir())]
    assert write(folder) == first
    assert [path.stat().st_mtime_ns for path in sorted(first.iterdir())] == times
    assert not opened.replaced()
    opened.close()


def test_a_newer_one_replaces_it_while_it_is_open(folder: Path) -> None:
    versions = [write(folder, shift=0)]
    opened = Snapshot.open(folder)
    before = content(opened)
    for shift in (1, 2, 3):
        versions.append(write(folder, shift=shift))
        assert opened.replaced()
    assert sorted(path for path in folder.iterdir() if path.is_dir()) == sorted(versions[-2:])
    if sys.platform != "win32":
        assert content(opened) == before  # its files are already unlinked
    opened.close()
    newer = Snapshot.open(folder)
    assert newer.storage.contents(["id 0"]) == ["text 3"]
    assert not newer.replaced()
    newer.close()


def test_readers_never_see_a_mix(folder: Path) -> None:
    write(folder, 20, shift=0)
    done = threading.Event()

    def read(_: int) -> set[int]:
        seen: set[int] = set()
        while not done.is_set():
            opened = Snapshot.open(folder)
            found = content(opened)
            opened.close()
            [shift] = {row[2]["n"] for row in found}
            assert {row[3] for row in found} == {f"text {shift}"}
            assert np.array_equal([row[1] for row in found], VECTORS[:20] + np.float32(shift))
            seen.add(shift)
        return seen

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read, i) for i in range(2)]
        try:
            for shift in range(1, 9):
                write(folder, 20, shift=shift)
        finally:
            done.set()
        assert len(set().union(*(reader.result() for reader in readers))) > 1


# Rejected folders, and the state after a failed write


def test_a_folder_without_a_snapshot_is_told(folder: Path) -> None:
    for _ in range(2):
        with pytest.raises(
            StoreError, match=r"snapshot holds no snapshot: write one there with store\.snapshot"
        ):
            Snapshot.open(folder)
        folder.mkdir(exist_ok=True)


def test_a_snapshot_of_another_kind_is_refused(folder: Path) -> None:
    write(folder)
    with pytest.raises(StoreError, match="expected a snapshot with dimension 9, got 8"):
        Snapshot.open(folder, 9)
    with pytest.raises(StoreError, match="with metric dot, got cosine"):
        Snapshot.open(folder, 8, "dot")


def test_what_is_damaged_is_told_with_its_name(folder: Path) -> None:
    version = write(folder)
    for path in sorted(version.iterdir()):
        whole = path.read_bytes()
        for at in (0, len(whole) // 2, len(whole) - 1):
            broken = bytearray(whole)
            broken[at] ^= 4
            path.write_bytes(broken)
            with pytest.raises(StoreError, match=rf"{path.name} is damaged"):
                Snapshot.open(folder)
        path.write_bytes(whole[:-1])
        for verify in (True, False):
            with pytest.raises(StoreError, match=rf"{path.name} is damaged"):
                Snapshot.open(folder, verify=verify)
        path.unlink()
        with pytest.raises(StoreError, match=rf"{path.name}: No such file"):
            Snapshot.open(folder)
        path.write_bytes(whole)
    Snapshot.open(folder).close()


def test_writing_again_repairs_what_is_damaged(folder: Path) -> None:
    version = write(folder)
    path = version / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-4] + b"oops")
    assert write(folder) == version
    Snapshot.open(folder).close()


@pytest.mark.parametrize("name", ["thesis.txt", "current"])
def test_a_folder_with_other_files_is_refused(folder: Path, name: str) -> None:
    folder.mkdir()
    (folder / name).write_text("mine")
    with pytest.raises(
        StoreError, match=rf"holds other files \({name}\): give a snapshot a folder of its own"
    ):
        write(folder)
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_writing_that_fails_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = write(folder)
    before = sorted(folder.iterdir())

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "write_atomic", fail)
        with pytest.raises(StoreError, match="No space left on device"):
            write(folder, shift=1)
    assert (folder / "current").read_text().strip() == version.name
    Snapshot.open(folder).close()
    write(folder)
    assert sorted(folder.iterdir()) == before


FULL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from conduit_lab.core.errors import StoreError
from tests.vectors.disk.test_snapshot import Rows
rows = Rows(5_000, shift=1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writes beyond the limit fail as on a full disk
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        rows.write(Path(sys.argv[1]))
    except StoreError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_the_one_before(folder: Path) -> None:
    version = write(folder)
    before = sorted(folder.iterdir())
    database = Rows(5_000, shift=1)
    size = sum(
        path.stat().st_size for path in database.write(folder.with_name("other")).glob("entries.db")
    )
    database.storage.close()
    limits = ["100", "5_000", "100_000", str(size - 8_192)]
    command = [sys.executable, "-c", FULL, str(folder), *limits]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert len(done.stdout.splitlines()) == len(limits), done
    assert sorted(folder.iterdir()) == before
    assert (folder / "current").read_text().strip() == version.name
    Snapshot.open(folder).close()


def test_two_writers_take_turns(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        versions = set(pool.map(lambda shift: write(folder, 20, shift), range(8)))
    assert len(versions) == 8
    opened = Snapshot.open(folder)
    [shift] = {row[2]["n"] for row in content(opened)}
    assert np.array_equal(opened.vectors, VECTORS[:20] + np.float32(shift))
    opened.close()


def test_a_writer_does_not_wait_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder)
    monkeypatch.setattr(snapshot, "_PATIENCE_SECONDS", 0.01)
    with sqlite3.connect(folder / ".lock", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another process is writing this snapshot: try again"):
            write(folder, shift=1)
    other.close()
    write(folder, shift=1)


def test_drafts_of_a_killed_writer_are_removed(folder: Path) -> None:
    write(folder)
    before = sorted(folder.iterdir())
    for name in ("version", "current"):
        draft = folder / f".{name}.{'0' * 32}.tmp"
        draft.mkdir() if name == "version" else draft.touch()
    write(folder)
    assert sorted(folder.iterdir()) == before


def test_a_checkpoint_is_no_change(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Rows(20, tmp_path / "index.db")
    copy = copies.copy_without_embeddings

    def copy_then_checkpoint(*args: Any) -> list[str]:
        ids = copy(*args)
        with closing(sqlite3.connect(tmp_path / "index.db")) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert rows.storage.changed_elsewhere()
        return ids

    monkeypatch.setattr(copies, "copy_without_embeddings", copy_then_checkpoint)
    rows.write(folder)
    assert len(Snapshot.open(folder).vectors) == 20
    rows.storage.close()


def test_a_store_that_another_process_changed_is_told(tmp_path: Path, folder: Path) -> None:
    rows = Rows(20, tmp_path / "index.db")
    other = Storage(tmp_path / "index.db", 8, "cosine")
    other.put([Entry("id 3", VECTORS[0], {}, "new", 1.0, 1.0)])
    with pytest.raises(
        StoreError, match="another process changed the store meanwhile: take the snapshot again"
    ):
        rows.write(folder)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    other.close()
    rows.storage.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
@pytest.mark.parametrize("searched", [False, True])
def test_a_closed_store_maps_no_file_of_its_snapshot(folder: Path, searched: bool) -> None:
    version = str(write(folder))

    def mapped() -> bool:
        return version in Path("/proc/self/maps").read_text()

    store = VectorStore(path=folder)
    assert len(store) == 60
    if searched:
        store.search(QUERY[0])
    assert mapped()
    store.close()
    store.close()
    assert not mapped()
    with pytest.raises(StoreError, match="closed"):
        store.search(QUERY[0])
