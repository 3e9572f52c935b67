"""Storage: what survives, what is refused, what is seen by others."""

from __future__ import annotations

import gc
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.entry import Entry

VECTORS = np.random.default_rng(1).standard_normal((5_000, 8)).astype(np.float32)


def entry(
    i: int, content: str | None = None, metadata: dict[str, Any] | None = None, at: float = 1.0
) -> Entry:
    return Entry(f"id {i}", VECTORS[i], {"n": i} if metadata is None else metadata, content, at, at)


def some(count: int = 60) -> list[Entry]:
    return [entry(i, f"text {i} about kettles") for i in range(count)]


def plain(entries: list[Entry | None]) -> list[Any]:
    return [
        None
        if e is None
        else (e.id, e.embedding.tolist(), e.metadata, e.content, e.created_at, e.updated_at)
        for e in entries
    ]


def whole(storage: Storage) -> list[Any]:
    """Everything that is stored, by both ways of reading."""
    ids: list[str] = []
    for block in storage.load():
        entries = storage.get(block.ids)
        assert [e.metadata for e in entries if e] == block.metadatas
        assert np.array_equal([e.embedding for e in entries if e], block.vectors)
        ids += block.ids
    return plain(storage.get(ids))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def saved(path: Path) -> list[Any]:
    """A file with rows of all sizes, so with pages of every kind; and what is in it."""
    storage = Storage(path, 8, "cosine")
    storage.put(some(140))
    storage.put([entry(i, "long text " * 2_000) for i in range(140, 143)])
    storage.put([entry(i, "kettle " * i, {"text": "y" * 100 * i}) for i in range(143, 150)])
    storage.remove([f"id {i}" for i in (*range(50, 100), 141, 148)])
    storage.put([entry(7, None, at=2.0), entry(8, "another text", at=2.0)])
    kept = whole(storage)
    storage.close()
    return kept


def test_reopening_gives_the_same(path: Path, saved: list[Any]) -> None:
    assert [file.name for file in path.parent.iterdir()] == ["index.db"]
    storage = Storage(path, 8, "cosine")
    assert whole(storage) == saved
    assert [row[0] for row in saved] == [
        f"id {i}" for i in range(150) if not 50 <= i < 100 and i not in (141, 148)
    ]
    assert saved[7][3:] == (None, 1.0, 2.0)
    storage.close()


def test_an_id_that_is_not_there_is_none(path: Path) -> None:
    storage = Storage(path, 8, "cosine")
    storage.put([entry(1, "text"), entry(2)])
    assert plain(storage.get(["id 2", "id 3", "id 1", "id 1"])) == plain(
        [entry(2), None, *[entry(1, "text")] * 2]
    )
    assert storage.contents(["id 2", "id 3", "id 1"]) == [None, None, "text"]
    storage.remove(["id 3", "id 1"])
    assert storage.contents(["id 1"]) == [None]
    storage.close()


def test_rows_come_in_blocks_that_can_be_written(path: Path) -> None:
    storage = Storage(path, 8, "cosine")
    storage.put([entry(i) for i in range(5_000)])
    blocks = list(storage.load())
    assert [len(block.ids) for block in blocks] == [4_096, 904]
    vectors = np.concatenate([block.vectors for block in blocks])
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, VECTORS)
    blocks[0].vectors[0] = 0
    assert len(blocks[0].metadatas) == 4_096
    storage.close()


def test_an_empty_storage_has_no_block(path: Path) -> None:
    for where in (path, None):
        storage = Storage(where, 8, "cosine")
        assert list(storage.load()) == []
        storage.close()


def test_in_memory_no_embedding_is_kept() -> None:
    storage = Storage(None, 8, "cosine")
    storage.put(some())
    [block] = storage.load()
    assert block.ids == [e.id for e in some()]
    assert block.vectors.shape == (60, 0)
    [found] = storage.get(["id 3"])
    assert found is not None
    assert found.embedding.shape == (0,)
    assert (found.metadata, found.content) == ({"n": 3}, "text 3 about kettles")
    assert not storage.changed_elsewhere()
    storage.close()


def test_a_batch_is_all_or_nothing(path: Path) -> None:
    for where in (path, None):
        storage = Storage(where, 8, "cosine")
        storage.put(some(3))
        with pytest.raises(UnicodeEncodeError):
            storage.put([entry(0, "new"), entry(7), entry(8, "lone \ud800")])
        assert storage.contents(["id 0", "id 7"]) == ["text 0 about kettles", None]
        assert [id for id, _ in storage.lexical("kettles new", 9)] == ["id 0", "id 1", "id 2"]
        storage.close()


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    for where in (path, None):
        storage = Storage(where, 8, "cosine")
        storage.put(some(3))
        with pytest.raises(MemoryError), storage.transaction(write=True):
            storage.put([entry(0, "new"), entry(7)])
            storage.remove(["id 1"])
            raise MemoryError
        assert storage.contents(["id 0", "id 1", "id 7"]) == [
            "text 0 about kettles",
            "text 1 about kettles",
            None,
        ]
        assert [id for id, _ in storage.lexical("kettles new", 9)] == ["id 0", "id 1", "id 2"]
        storage.close()


def test_a_copy_is_one_file_with_the_same(path: Path, saved: list[Any], tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "index.db"
    copy.parent.mkdir()
    storage = Storage(path, 8, "cosine")
    storage.copy_to(copy)
    with pytest.raises(StoreError, match=r"copy/index\.db exists already: choose a new path"):
        storage.copy_to(copy)
    with pytest.raises(StoreError, match=r"nowhere/index\.db: cannot write the store"):
        storage.copy_to(tmp_path / "nowhere" / "index.db")
    storage.close()
    assert [file.name for file in copy.parent.iterdir()] == ["index.db"]
    assert (
        copy.read_bytes()[18:20] == b"\1\1"
    )  # not in WAL mode, so that it opens in a read-only folder
    storage = Storage(copy, 8, "cosine")
    assert whole(storage) == saved
    storage.close()


def test_a_copy_of_a_storage_in_memory_is_given_the_embeddings(path: Path) -> None:
    storage = Storage(None, 8, "cosine")
    storage.put(some())
    with pytest.raises(ValueError, match="shorter"):
        storage.copy_to(path, [VECTORS[:59]])
    assert list(path.parent.iterdir()) == []
    storage.copy_to(path, [VECTORS[:40], VECTORS[40:60]])
    storage.close()
    storage = Storage(path, 8, "cosine")
    assert whole(storage) == plain([*some()])
    assert len(storage.lexical("kettles", 100)) == 60
    storage.close()


def test_storages_that_share_a_file_see_each_other(path: Path) -> None:
    one, two = Storage(path, 8, "cosine"), Storage(path, 8, "cosine")
    one.put(some(3))
    assert not one.changed_elsewhere()
    assert two.changed_elsewhere()
    assert len(whole(two)) == 3
    assert not two.changed_elsewhere()
    assert len(one.lexical("kettles", 9)) == 3  # checks the words without changing anything
    assert not two.changed_elsewhere()
    two.remove(["id 1"])
    assert one.changed_elsewhere()
    one.close()
    two.close()


WRITER = """
import sys
import numpy as np
from pathlib import Path
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.disk.storage import Storage
storage = Storage(Path(sys.argv[1]), 8, "cosine")
for i in range(150):
    ids = [f"{sys.argv[2]} {i} {k}" for k in range(2)]
    storage.put([Entry(id, np.full(8, i), {}, "kettles", 1.0, 1.0) for id in ids])
"""


def test_two_processes_write_one_file(path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("one", "two")
    ]
    storage = Storage(path, 8, "cosine")
    while any(writer.poll() is None for writer in writers):
        assert len(whole(storage)) % 2 == 0
    assert [writer.returncode for writer in writers] == [0, 0]
    assert {row[0] for row in whole(storage)} == {
        f"{name} {i} {k}" for name in ("one", "two") for i in range(150) for k in range(2)
    }
    storage.close()


def test_a_file_that_another_process_holds_is_told(path: Path) -> None:
    storage = Storage(path, 8, "cosine")
    storage.put(some())
    storage.patience = 0.01
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(
        StoreError, match=r"index\.db: another process is writing this store: try again"
    ):
        storage.put([entry(60)])
    assert len(storage.lexical("kettles", 100)) == 60
    other.close()
    storage.put([entry(60)])
    assert len(whole(storage)) == 61
    storage.close()


def test_a_dropped_storage_leaks_nothing(path: Path) -> None:
    storage = Storage(path, 8, "cosine")
    storage.put(some(1))
    del storage
    gc.collect()
    assert [file.name for file in path.parent.iterdir()] == ["index.db"]


@pytest.mark.parametrize(("durability", "pragma"), [("normal", 1), ("full", 2)])
def test_durability_is_how_long_a_commit_waits(path: Path, durability: str, pragma: int) -> None:
    storage = Storage(path, 8, "cosine", durability=durability)
    assert storage._connection.execute("PRAGMA synchronous").fetchone() == (pragma,)
    assert storage._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    storage.close()


# What is refused


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dimension", "9", "expected a store file with dimension 8, got 9: use the dimension"),
        ("metric", "dot", "with metric cosine, got dot: use the metric"),
        ("kind", "snapshot", "with kind store, got snapshot"),
        ("format", "3", "with format 2, got 3"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    path: Path, saved: list[Any], name: str, value: str, message: str
) -> None:
    change(path, f"UPDATE meta SET value = '{value}' WHERE name = '{name}'")
    with pytest.raises(StoreError, match=rf"index\.db: .*{message}"):
        Storage(path, 8, "cosine")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meta SET value = 'x' WHERE name = 'dimension'",
        "DELETE FROM meta WHERE name = 'metric'",
    ],
)
def test_a_file_that_does_not_say_what_it_is_is_damaged(
    path: Path, saved: list[Any], statement: str
) -> None:
    change(path, statement)
    with pytest.raises(
        StoreError,
        match=r"index\.db: the store file is damaged \(its dimension or metric is missing",
    ):
        Storage(path)


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
        Storage(path, 8, "cosine")
    assert path.read_bytes() == content


def test_a_foreign_database_is_refused(path: Path) -> None:
    change(path, "CREATE TABLE meta (key, v)")
    with pytest.raises(StoreError, match=r"index\.db is a SQLite file but not a vector store"):
        Storage(path, 8, "cosine")


def test_a_file_whose_tables_were_changed_is_refused(path: Path, saved: list[Any]) -> None:
    change(path, "DROP TRIGGER words_added")
    with pytest.raises(
        StoreError,
        match=r"index\.db: the store file is damaged \(its tables are not the original ones",
    ):
        Storage(path, 8, "cosine")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open the store: Is a directory"):
        Storage(tmp_path, 8, "cosine")


def test_a_log_left_by_a_deleted_store_is_not_replayed(path: Path) -> None:
    storage = Storage(path, 8, "cosine")
    storage.put(some())
    path.unlink()
    with pytest.raises(StoreError, match=r"index\.db-wal is left over from a deleted store"):
        Storage(path, 8, "cosine")
    storage.close()
    Path(f"{path}-wal").unlink(missing_ok=True)
    storage = Storage(path, 8, "cosine")
    assert whole(storage) == []
    storage.close()


def test_truncated_files_are_told(path: Path, saved: list[Any]) -> None:
    content = path.read_bytes()
    for length in (1, 99, 100, 512, 4_096, 8_192, len(content) // 2, len(content) - 30_000):
        path.write_bytes(content[:length])
        with pytest.raises(StoreError, match=r"index\.db"):
            Storage(path, 8, "cosine")


def test_flipped_bits_of_every_page_are_told_or_harmless(path: Path, saved: list[Any]) -> None:
    words = read(path)[1]
    assert len(words) > 50
    content = path.read_bytes()
    rng = np.random.default_rng(5)
    pages = range(0, len(content), 8_192)
    spots = [
        page + at for page in pages for at in (*rng.integers(0, 24, 4), *rng.integers(24, 8_192, 3))
    ]
    told = 0
    for at in [*rng.integers(0, 100, 40), *spots]:
        broken = bytearray(content)
        broken[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        try:
            assert read(path) == (saved, words), f"byte {at} changed what is stored"
        except StoreError as error:
            assert "index.db" in str(error)
            told += 1
    assert told > len(pages)


def read(path: Path) -> tuple[list[Any], list[tuple[str, float]]]:
    storage = Storage(path, 8, "cosine")
    try:
        return whole(storage), storage.lexical("kettles long another", 200)
    finally:
        storage.close()


# Disks that reject writes

FULL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.disk.storage import Storage
path = Path(sys.argv[1])
storage = Storage(path, 8, "cosine")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writes beyond the limit fail as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
stored = 0
try:
    while True:
        entries = [
            Entry(f"{stored} {i}", np.full(8, i), {}, f"word{i} " * 50, 1.0, 1.0) for i in range(10)
        ]
        storage.put(entries)
        stored += 1
except StoreError as error:
    print(error)
before = len(next(storage.load()).ids)
try:
    storage.copy_to(path.with_name("copy.db"))
except StoreError as error:
    print(error)
print(stored, before, len(next(storage.load()).ids), len(storage.lexical("word3", 10_000)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_loses_nothing(path: Path) -> None:
    storage = Storage(path, 8, "cosine")
    storage.put([Entry(f"big {i}", VECTORS[0], {}, "x" * 20_000, 1.0, 1.0) for i in range(20)])
    storage.close()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    error, copy_error, counts = done.stdout.splitlines()
    assert "index.db: cannot write the store" in error
    assert "copy.db: cannot write the store" in copy_error
    stored, before, after, found = map(int, counts.split())
    assert stored > 0
    assert before == after == 20 + 10 * stored
    assert found == stored
    assert not path.with_name("copy.db").exists()
    storage = Storage(path, 8, "cosine")
    assert len(whole(storage)) == after
    storage.close()
    assert [file.name for file in path.parent.iterdir()] == ["index.db"]


def test_a_copy_of_files_in_use_opens(path: Path, tmp_path: Path) -> None:
    """A power cut leaves a file and its log: they open together."""
    storage = Storage(path, 8, "cosine")
    storage.put(some())
    for file in (path, Path(f"{path}-wal")):
        shutil.copy(file, str(file).replace("index", "copy"))
    before = whole(storage)
    storage.close()
    storage = Storage(tmp_path / "copy.db", 8, "cosine")
    assert whole(storage) == before
    storage.close()


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()
