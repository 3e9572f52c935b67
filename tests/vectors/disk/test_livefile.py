"""An open store's file: no lock is lost, and a moved, replaced or overwritten file is reported."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk import checkpoint, livefile
from conduit_lab.vectors.store import VectorStore

ROOT = Path(__file__).parents[3]
ONE = [1.0, 0.0]

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="open file description locks are Linux's"
)
no_windows = pytest.mark.skipif(
    sys.platform == "win32", reason="a file that is open cannot be moved there"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "notes.db"


@pytest.fixture
def store(path: Path) -> Iterator[VectorStore]:
    with VectorStore(2, path=path) as store:
        store.add("a", ONE)
        yield store


def ids(path: Path) -> list[str]:
    with VectorStore(path=path) as store:
        return [entry.id for entry in store]


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def quiet(path: Path) -> None:
    """Wait until the log of a store has moved into its file."""
    wait_until(lambda: Path(f"{path}-wal").stat().st_size == 0)


# Locks

CHILD = """
import shutil, sys
from pathlib import Path
from conduit_lab.vectors.store import VectorStore
path, read = Path(sys.argv[1]), sys.argv[2]
store = VectorStore(2, path=path)
store.add("a", [1, 0])
if read == "store":
    VectorStore(path=path).close()
elif read == "folder":
    shutil.copytree(path.parent, path.parent.with_name("copy"))
else:
    Path(f"{path}{read}").read_bytes()
print("ready", flush=True)
sys.stdin.readline()
for i in range(10):
    store.add(f"n{i}", [0, 1])
print("acknowledged", flush=True)
sys.stdin.readline()
"""


@linux
@pytest.mark.parametrize("read", ["", "-wal", "-shm", "folder", "store"])
@pytest.mark.parametrize(
    "other",
    ["VectorStore(path=path).close()", "sqlite3.connect(path).execute('SELECT 1 FROM meta')"],
)
def test_another_process_that_closes_the_store_leaves_the_log_in_use(
    path: Path, read: str, other: str
) -> None:
    command = [sys.executable, "-c", CHILD, str(path), read]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        if "VectorStore" in other:
            VectorStore(path=path).close()
        else:
            with closing(sqlite3.connect(path)) as connection:
                assert connection.execute("SELECT count(*) FROM entries").fetchone() == (1,)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "acknowledged\n"
        seen = ids(path)
        child.send_signal(signal.SIGKILL)
    assert seen == ids(path) == ["a", *(f"n{i}" for i in range(10))]


WRITER = """
import sys
from pathlib import Path
from conduit_lab.vectors.store import VectorStore
path = Path(sys.argv[1])
with VectorStore(path=path) as store:
    storage = store._local("test")._storage
    with storage.transaction(write=True):
        storage.remove(["a"])
        for name in (path, f"{path}-wal", f"{path}-shm"):
            Path(name).read_bytes()
        print("writing", flush=True)
        sys.stdin.readline()
    print("written", flush=True)
    sys.stdin.readline()
"""


@linux
def test_nobody_writes_beside_a_write_whose_locks_of_sqlite_are_lost(
    path: Path, store: VectorStore
) -> None:
    command = [sys.executable, "-c", WRITER, str(path)]
    storage = store._local("test")._storage
    patience = storage.patience
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        storage.patience = 0.01
        with pytest.raises(
            StoreError, match=r"notes\.db: another process is writing this store: try again"
        ):
            store.add("b", ONE)
        assert [entry.id for entry in store] == ["a"]
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "written\n"
        storage.patience = patience
        store.add("c", ONE)
        child.communicate("\n")
    assert [entry.id for entry in store] == ["c"]
    assert ids(path) == ["c"]


@linux
def test_a_hard_link_to_an_open_store_is_refused(path: Path, store: VectorStore) -> None:
    link = path.with_name("link.db")
    os.link(path, link)
    with pytest.raises(
        StoreError, match=r"link\.db is a hard link to a store that is open under another name"
    ):
        VectorStore(path=link)
    store.add("b", ONE)
    store.close()
    assert ids(link) == ["a", "b"]
    assert ids(path) == ["a", "b"]


def test_a_symbolic_link_is_the_store_itself(path: Path, store: VectorStore) -> None:
    link = path.parent.parent / "link.db"
    link.symlink_to(path)
    with VectorStore(path=link) as other:
        other.add("b", ONE)
        assert "b" in store
        store.add("c", ONE)
        assert len(other) == 3
    assert sorted(file.name for file in path.parent.parent.iterdir()) == ["link.db", "store"]


def test_closed_stores_leave_no_descriptor(path: Path) -> None:
    before = set(livefile._files)  # of stores that other tests dropped without closing them
    for _ in range(3):
        with VectorStore(2, path=path) as one, VectorStore(2, path=path) as two:
            one.add("a", ONE)
            assert "a" in two
    assert livefile._files.keys() <= before
    if sys.platform == "linux":
        open_files = []
        for fd in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                open_files.append(fd.readlink())
        assert not [file for file in open_files if file.parent == path.parent]


# What happens to an open file

MOVED = (
    r"notes\.db was moved, replaced or deleted while the store had it open: "
    r".* store\.save_to\(new_path\)"
)
LOST = r"notes\.db lost its write-ahead log"
OVERWRITTEN = (
    r"notes\.db was overwritten while the store had it open: close the store and open it again"
)


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    VectorStore(2, path=other).close()
    other.replace(path)


def retarget(path: Path) -> None:
    path.rename(path.with_name("moved.db"))
    path.symlink_to(path.with_name("elsewhere.db"))


def write_over(path: Path) -> None:
    """Copy another store over this one, into the same inode."""
    other = path.with_name("other.db")
    with VectorStore(2, path=other) as store:
        store.add("other", ONE)
    path.write_bytes(other.read_bytes())


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8_192)


FATES: dict[str, tuple[Callable[[Path], object], str]] = {
    "moved": (lambda path: path.rename(path.with_name("moved.db")), MOVED),
    "replaced": (replace, MOVED),
    "deleted": (Path.unlink, MOVED),
    "folder moved": (lambda path: path.parent.rename(path.parent.with_name("elsewhere")), MOVED),
    "folder deleted": (lambda path: shutil.rmtree(path.parent), MOVED),
    "link led elsewhere": (retarget, MOVED),
    "log deleted": (lambda path: Path(f"{path}-wal").unlink(), LOST),
    "index of the log deleted": (lambda path: Path(f"{path}-shm").unlink(), LOST),
    "overwritten": (write_over, OVERWRITTEN),
    "emptied": (lambda path: path.write_bytes(b""), OVERWRITTEN),
    "truncated": (truncate, OVERWRITTEN),
}


@no_windows
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("still", [True, False])
def test_the_next_write_to_a_file_that_is_not_the_same_is_refused(
    path: Path, store: VectorStore, fate: str, still: bool
) -> None:
    befall, message = FATES[fate]
    if still:
        quiet(path)
    befall(path)
    for write in (
        lambda: store.add("b", ONE),
        lambda: store.delete("a"),
        lambda: store.update("a", ONE),
    ):
        with pytest.raises(StoreError, match=message):
            write()


@no_windows
@pytest.mark.parametrize(
    "fate", [fate for fate, (_, message) in FATES.items() if message != OVERWRITTEN]
)
def test_the_entries_of_a_lost_file_are_saved(
    path: Path, store: VectorStore, tmp_path: Path, fate: str
) -> None:
    store.add("b", ONE, {"n": 1}, "kettle")
    FATES[fate][0](path)
    assert [hit.id for hit in store.search(ONE, 5)] == ["a", "b"]
    store.save_to(tmp_path / "saved.db")
    assert ids(tmp_path / "saved.db") == ["a", "b"]


@no_windows
def test_a_moved_file_has_every_entry_once_the_store_is_closed(
    path: Path, store: VectorStore
) -> None:
    store.add("b", ONE)
    moved = path.with_name("moved.db")
    path.rename(moved)
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["moved.db"]
    assert ids(moved) == ["a", "b"]


@no_windows
def test_a_file_that_is_moved_back_is_written_again(path: Path, store: VectorStore) -> None:
    path.rename(path.with_name("moved.db"))
    with pytest.raises(StoreError, match=MOVED):
        store.add("b", ONE)
    path.with_name("moved.db").rename(path)
    store.add("b", ONE)
    store.close()
    assert ids(path) == ["a", "b"]


@no_windows
def test_closing_a_store_whose_file_was_replaced_leaves_the_new_one_alone(
    path: Path, store: VectorStore
) -> None:
    replace(path)
    with closing(sqlite3.connect(path)):
        store.close()
    assert [file.name for file in path.parent.iterdir()] == ["notes.db"]
    assert ids(path) == []


@no_windows
def test_a_new_store_where_one_was_deleted(path: Path) -> None:
    old = VectorStore(2, path=path)
    old.add("old", ONE)
    quiet(path)
    for file in path.parent.iterdir():
        file.unlink()
    with VectorStore(2, path=path) as new:
        new.add("new", ONE)
        with pytest.raises(StoreError, match=MOVED):
            old.add("b", ONE)
        old.close()
        new.add("newer", ONE)
        assert ids(path) == ["new", "newer"]
    assert ids(path) == ["new", "newer"]


@no_windows
@pytest.mark.parametrize("older", [True, False])
def test_a_backup_that_is_copied_over_the_open_file_stays_whole(
    path: Path, store: VectorStore, older: bool
) -> None:
    """An older copy of the file has nearly the same header; the log must not be replayed on it."""
    quiet(path)
    copy = path.with_name("copy.db")
    if older:
        shutil.copy(path, copy)
    else:
        store.backup(copy)
    store.add("b", ONE)
    store.delete("a")
    quiet(path)
    shutil.copy(copy, path)
    with pytest.raises(StoreError, match=OVERWRITTEN):
        store.add("c", ONE)
    store.close()
    assert ids(path) == ["a"]


def test_checkpoints_of_others_are_no_overwriting(path: Path, store: VectorStore) -> None:
    with VectorStore(path=path) as other:
        for i in range(5):
            other.add(f"other {i}", ONE)
            other._local("test")._storage._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            store.add(f"mine {i}", ONE)
    assert len(ids(path)) == 11


def test_other_files_in_the_folder_are_no_matter(path: Path, store: VectorStore) -> None:
    path.with_name("other.txt").write_text("x")
    store.add("b", ONE)
    path.with_name("other.txt").unlink()
    path.chmod(0o600)
    store.add("c", ONE)
    assert ids(path) == ["a", "b", "c"]


# Checkpoints


def test_a_plain_copy_of_a_quiet_store_has_every_entry(path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((3_000, 2))
    with VectorStore(2, path=path) as store:
        for at in range(0, 3_000, 1_000):
            store.add_many(
                [str(at + i) for i in range(1_000)],
                rows[at : at + 1_000],
                contents=["words"] * 1_000,
            )
        quiet(path)
        copy = path.parent.parent / "copy.db"
        shutil.copy(path, copy)
        shutil.copytree(path.parent, path.parent.with_name("folder"))
        for place in (copy, path.parent.with_name("folder") / path.name):
            with VectorStore(path=place) as copied:
                assert len(copied) == 3_000
                assert copied.search(rows[5], 10) == store.search(rows[5], 10)


def test_a_checkpoint_is_no_change(path: Path, store: VectorStore) -> None:
    version = store.version
    quiet(path)
    assert len(store) == 1
    assert store.version == version


def test_the_thread_ends_when_the_log_is_empty_and_with_the_store(
    path: Path, store: VectorStore
) -> None:
    def threads() -> list[threading.Thread]:
        return [
            thread for thread in threading.enumerate() if thread.name == "conduit-lab checkpoint"
        ]

    assert len(threads()) == 1
    wait_until(lambda: not threads())
    assert Path(f"{path}-wal").stat().st_size == 0
    store.add("b", ONE)
    assert len(threads()) == 1
    store.close()
    assert threads() == []


def test_a_checkpoint_waits_for_a_reader(
    path: Path, store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "QUIET_SECONDS", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM entries").fetchone() == (1,)
        store.add("b", ONE)
        copied = path.with_name("copy.db")
        wait_until(lambda: store._local("test")._storage._idle._thread is not None)  # type: ignore[union-attr]
        assert reader.execute("SELECT count(*) FROM entries").fetchone() == (1,)
        reader.execute("COMMIT")
    quiet(path)
    shutil.copy(path, copied)
    assert ids(copied) == ["a", "b"]


# Backups


def test_a_backup_replaces_an_older_one(path: Path, store: VectorStore, tmp_path: Path) -> None:
    copy = tmp_path / "backup.db"
    assert store.backup(copy) == copy
    store.add("b", ONE, {"n": 1}, "kettle")
    store.backup(copy)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backup.db", "store"]
    with VectorStore(path=copy) as copied:
        assert copied.search(ONE) == store.search(ONE)


def test_a_backup_of_a_store_in_memory(tmp_path: Path) -> None:
    with VectorStore(2) as store:
        for id in ("a", "b"):
            store.add(id, ONE)
            store.backup(tmp_path / "backup.db")
        assert ids(tmp_path / "backup.db") == ["a", "b"]


def test_a_backup_replaces_nothing_that_is_open_or_no_store(
    path: Path, store: VectorStore, tmp_path: Path
) -> None:
    other, text, orphan = tmp_path / "other.db", tmp_path / "notes.txt", tmp_path / "orphan.db"
    link = tmp_path / "link.db"
    link.symlink_to(path)
    text.write_text("my notes")
    Path(f"{orphan}-wal").write_bytes(b"x")
    with VectorStore(2, path=other) as opened:
        for place, problem in (
            (path, "is open"),
            (link, "is open"),
            (other, "is open"),
            (text, "is not a store's file"),
            (tmp_path, "is not a file"),
            (orphan, "has a write-ahead log beside it"),
        ):
            with pytest.raises(
                StoreError, match=f"{place.name} {problem}.*: write the copy to another path"
            ):
                store.backup(place)
        opened.add("c", ONE)
    assert text.read_text() == "my notes"
    store.add("b", ONE)
    assert ids(path) == ["a", "b"]


@linux
def test_a_backup_does_not_replace_a_store_that_is_open_elsewhere(
    path: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", CHILD, str(path), ""]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with VectorStore(2) as store, pytest.raises(StoreError, match=r"notes\.db is open"):
            store.backup(path)
        child.kill()
