"""The store's file: what survives, what is refused, what is seen by others."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core import paths
from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.hits import Hits
from conduit_lab.vectors.store import VectorStore

VECTORS = np.random.default_rng(1).standard_normal((60, 8)).astype(np.float32)
QUERY = np.random.default_rng(2).standard_normal(8).astype(np.float32)


def fill(store: VectorStore) -> None:
    ids = [f"id {i}" for i in range(len(VECTORS))]
    store.add_many(ids, VECTORS, [{"n": i} for i in range(len(ids))], [f"text {i}" for i in range(len(ids))])


def answer(store: VectorStore) -> Hits:
    return store.search(QUERY, top_k=100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def saved(path: Path) -> Hits:
    with VectorStore(8, path=path) as store:
        fill(store)
        return answer(store)


def test_reopening_gives_the_same(path: Path) -> None:
    with VectorStore(8, path=path) as store:
        fill(store)
        store.delete(["id 0", "id 30"])
        store.add("id 5", VECTORS[0], {"replaced": True})
        before, entries = answer(store), [(e.id, e.embedding.tolist(), e.created_at, e.updated_at) for e in store]
    assert [file.name for file in path.parent.iterdir()] == ["index.db"]
    with VectorStore(8, path=path) as store:
        assert answer(store) == before
        assert [(e.id, e.embedding.tolist(), e.created_at, e.updated_at) for e in store] == entries
        assert store.name == "index"


def test_a_relative_path_starts_at_the_root(tmp_path: Path) -> None:
    with paths.use_root(tmp_path), VectorStore(8, path="indexes/deep #1?/häuser.db") as store:
        assert store.path == tmp_path / "indexes/deep #1?/häuser.db"
        assert store.path.is_file()
        assert repr(store).endswith("indexes/deep #1?/häuser.db")


@pytest.mark.parametrize("durable", [True, False])
def test_save_to_writes_one_file_with_the_same_answers(tmp_path: Path, durable: bool) -> None:
    copy = tmp_path / "copy" / "index.db"
    copy.parent.mkdir()
    with VectorStore(8, path=tmp_path / "index.db" if durable else None) as store:
        fill(store)
        store.delete("id 3")
        assert store.save_to(copy) == copy
        before = answer(store)
        store.add("later", QUERY)
        with pytest.raises(StoreError, match=r"copy/index\.db exists already: choose a new path"):
            store.save_to(copy)
    assert [file.name for file in copy.parent.iterdir()] == ["index.db"]
    assert copy.read_bytes()[18:20] == b"\1\1"  # not in WAL mode, so that it opens in a read-only folder
    with VectorStore(8, path=copy) as store:
        assert answer(store) == before


def test_save_to_a_missing_folder(tmp_path: Path) -> None:
    with VectorStore(8) as store, pytest.raises(StoreError, match=r"nowhere/index\.db: cannot write the store"):
        store.save_to(tmp_path / "nowhere" / "index.db")


def test_stores_that_share_a_file_see_each_other(path: Path) -> None:
    with VectorStore(8, path=path) as one, VectorStore(8, path=path) as two:
        one.add("a", QUERY)
        assert "a" in two
        version = two.version
        two.add("b", QUERY)
        two.delete("a")
        assert [hit.id for hit in one.search(QUERY)] == ["b"]
        assert len(two) == 1
        assert two.version > version


def test_a_dropped_store_leaks_nothing(path: Path) -> None:
    store = VectorStore(8, path=path)
    store.add("a", QUERY)
    del store
    gc.collect()
    assert [file.name for file in path.parent.iterdir()] == ["index.db"]


def test_a_file_of_another_kind_is_refused(path: Path, saved: Hits) -> None:
    with pytest.raises(StoreError, match=r"index\.db: this store file has dimension 8, wanted 9: use the dimension"):
        VectorStore(9, path=path)
    change(path, "UPDATE meta SET value = 'dot' WHERE name = 'metric'")
    with pytest.raises(StoreError, match=r"index\.db: this store file has metric dot, wanted cosine"):
        VectorStore(8, path=path)
    change(path, "UPDATE meta SET value = '2' WHERE name = 'format'")
    with pytest.raises(StoreError, match=r"index\.db: this store file has format 2, wanted 1"):
        VectorStore(8, path=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "is not a SQLite file"),
        (b"\x93NUMPY" + bytes(5_000), "is not a SQLite file"),
        (b"", "is a SQLite file but not a vector store"),
    ],
)
def test_a_foreign_file_is_refused_and_kept(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match=rf"index\.db {message}"):
        VectorStore(8, path=path)
    assert path.read_bytes() == content


def test_a_foreign_database_is_refused(path: Path) -> None:
    change(path, "CREATE TABLE meta (key, v)")
    with pytest.raises(StoreError, match=r"index\.db is a SQLite file but not a vector store"):
        VectorStore(8, path=path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open the store: unable to open"):
        VectorStore(8, path=tmp_path)


def test_a_log_left_by_a_deleted_store_is_not_replayed(path: Path) -> None:
    with VectorStore(8, path=path) as store:
        fill(store)
        path.unlink()
        with pytest.raises(StoreError, match=r"index\.db-wal is left over from a deleted store"):
            VectorStore(8, path=path)
    Path(f"{path}-wal").unlink(missing_ok=True)
    with VectorStore(8, path=path) as store:
        assert len(store) == 0


def test_truncated_files_are_told(path: Path, saved: Hits) -> None:
    whole = path.read_bytes()
    for length in (1, 99, 100, 512, 4_096, len(whole) // 2, len(whole) - 4_096, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"index\.db"):
            VectorStore(8, path=path)


def test_flipped_bytes_are_told_or_harmless(path: Path, saved: Hits) -> None:
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    told = 0
    for at in [*range(100), *rng.integers(100, len(whole), 300)]:
        broken = bytearray(whole)
        broken[at] ^= int(rng.integers(1, 256))
        path.write_bytes(broken)
        try:
            with VectorStore(8, path=path) as store:
                assert answer(store) == saved, f"byte {at} changed the answer"
        except StoreError as error:
            assert "index.db" in str(error)
            told += 1
    assert told > 50


def test_a_full_disk_loses_nothing(path: Path) -> None:
    with VectorStore(8, path=path) as store:
        fill(store)
        before = answer(store)
        page_limit = store._storage._connection.execute("PRAGMA page_count").fetchone()[0] + 1
        store._storage._connection.execute(f"PRAGMA max_page_count = {page_limit}")
        with pytest.raises(StoreError, match=r"index\.db: cannot write the store: database or disk is full"):
            store.add("big", QUERY, content="x" * 100_000)
        assert answer(store) == before
        store.add("small", QUERY)
    with VectorStore(8, path=path) as store:
        assert len(store) == 61


def test_a_store_that_cannot_be_written_can_be_searched(path: Path, saved: Hits) -> None:
    with VectorStore(8, path=path) as store:
        # Tests may run as root, whom no file mode stops.
        store._storage._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(
            StoreError, match=r"index\.db: cannot write the store: attempt to write a readonly database"
        ):
            store.add("a", QUERY)
        with pytest.raises(StoreError, match="readonly"):
            store.delete("id 1")
        assert answer(store) == saved


def test_an_interrupted_write_leaves_rows_and_file_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with VectorStore(8, path=path) as store:
        fill(store)

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(store._index, "put", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.add("a", QUERY)
        assert store.search(QUERY, top_k=1)[0].id == "a"


WRITER = """
import sys
import numpy as np
from conduit_lab.vectors.store import VectorStore
store = VectorStore(8, path=sys.argv[1])
i = len(store)
while True:
    if i % 10 == 9:
        store.add_many([f"{i}", f"{i} twin"], np.full((2, 8), i + 1))
    else:
        store.add(f"{i}", np.full(8, i + 1), {"n": i}, "text " * 50)
    sys.stdout.write(f"{i}\\n")
    sys.stdout.flush()
    i += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_kill_9_loses_no_acknowledged_add(path: Path) -> None:
    rng = np.random.default_rng(7)
    end = time.monotonic() + 15
    acknowledged: set[str] = set()
    for _ in range(20):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        with writer, writer.stdout as out:
            acknowledged.add(out.readline().strip())
            time.sleep(float(rng.uniform(0, 0.1)))
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged.update(line.strip() for line in out if line.endswith("\n"))
        with VectorStore(8, path=path) as store:
            kept = {entry.id for entry in store}
            assert acknowledged <= kept
            assert all(f"{id} twin" in kept for id in kept if id.endswith("9"))
            assert all(np.all(store[id].embedding == int(id) + 1) for id in list(acknowledged)[-20:])
        if time.monotonic() > end:
            break
    assert len(acknowledged) > 20


def test_a_copy_of_files_in_use_opens(path: Path, tmp_path: Path) -> None:
    """What a power cut leaves is a file and its log: they open together."""
    with VectorStore(8, path=path) as store:
        fill(store)
        for file in (path, Path(f"{path}-wal")):
            shutil.copy(file, str(file).replace("index", "copy"))
        before = answer(store)
    with VectorStore(8, path=tmp_path / "copy.db") as store:
        assert answer(store) == before


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()
