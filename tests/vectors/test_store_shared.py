"""Stores that share a file, in one process and in two, read only the others' changes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors import entry_rows
from conduit_lab.vectors.columns import MetadataColumns
from conduit_lab.vectors.entry_rows import EntryRows
from conduit_lab.vectors.local_backend import LocalBackend
from conduit_lab.vectors.store import VectorStore

Patch = pytest.MonkeyPatch
Pair = tuple[VectorStore, VectorStore]

ROOT = Path(__file__).parents[2]
IDS = [f"id {i}" for i in range(8)]
QUERY = np.ones(2, np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def pair(path: Path) -> Iterator[Pair]:
    """Two stores over one file, which both know what is in it."""
    with VectorStore(2, path=path) as one, VectorStore(2, path=path) as two:
        one.add_many(IDS, np.ones((8, 2)), [{"n": i} for i in range(8)], ["kettle"] * 8)
        assert len(two) == 8
        yield one, two


@contextmanager
def never_loaded() -> Iterator[None]:
    """Let the block read all rows of no file again."""

    def load(_: LocalBackend) -> None:
        raise AssertionError("all rows were read again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalBackend, "_load", load)
        yield


def whole(store: VectorStore) -> Any:
    """The results of all queries of a store; ties are in insertion order."""
    entries = [
        (e.id, e.embedding.tolist(), e.metadata, e.content, e.created_at, e.updated_at)
        for e in store
    ]
    found = [
        store.search(QUERY, 100, where) for where in (None, {"n": {"$lt": 4}}, {"n": {"$gte": 4}})
    ]
    return entries, found, store.search("kettle lamp", 100, mode="lexical"), len(store)


def reopened(path: Path) -> Any:
    with VectorStore(path=path) as store:
        return whole(store)


# One after the other

NUMBER = st.integers(0, 2)
SOME = st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True)
STEPS = st.tuples(
    NUMBER, st.sampled_from(["add", "add", "delete", "search", "fail"]), SOME, st.integers(0, 5)
)


@pytest.mark.parametrize(
    "spare", [1, 6, 1_024]
)  # so that full reloads happen often, rarely and never
@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, max_size=40))
def test_stores_over_one_file_always_agree(
    spare: int, steps: list[tuple[int, str, list[str], int]]
) -> None:
    known: dict[str, int] = {}
    with TemporaryDirectory() as folder, Patch.context() as patch, ExitStack() as stack:
        patch.setattr(entry_rows, "_MIN_TOMBSTONES", spare)
        path = Path(folder) / "index.db"
        stores = [stack.enter_context(VectorStore(2, "dot", path)) for _ in range(3)]
        if spare == 1_024:
            stack.enter_context(never_loaded())
        for number, what, ids, n in steps:
            store = stores[number]
            if what == "add":
                store.add_many(
                    ids,
                    np.full((len(ids), 2), n % 2),
                    [{"n": n}] * len(ids),
                    ["kettle" if n % 3 else "lamp"] * len(ids),
                )
                known |= dict.fromkeys(ids, n)
            elif what == "delete":
                assert store.delete(ids) == len(known.keys() & ids)
                known = {id: n for id, n in known.items() if id not in ids}
            elif what == "fail" and spare < 1_024:
                with Patch.context() as failing, pytest.raises(MemoryError):
                    failing.setattr(EntryRows, "add", broken)
                    store.add_many(ids, np.full((len(ids), 2), 9))
            found = [hit.id for hit in store.search(QUERY, 100)]
            assert found == sorted(
                known, key=lambda id: -(known[id] % 2)
            )  # preserves the insertion order
            assert [entry.id for entry in store] == list(known)
        answers = [whole(store) for store in stores]
        stack.close()
        assert answers == [reopened(path)] * 3


def broken(*_: object) -> None:
    raise MemoryError


def test_rows_lie_in_the_order_of_the_file(pair: Pair, path: Path) -> None:
    one, two = pair
    with never_loaded():
        one.add("a1", QUERY)
        two.add("b1", QUERY)
        one.add("a2", QUERY)
        two.delete(["id 0", "a2"])
        two.add_many(["b2", "id 0"], [QUERY] * 2)
        one.add("id 3", QUERY)
        assert one._opened().ids() == [*IDS[1:], "a1", "b1", "b2", "id 0"]
        assert whole(one) == whole(two)
    assert whole(one) == reopened(path)


@pytest.mark.parametrize(
    "change", [lambda s: s.add("new", QUERY), lambda s: s.delete("id 5"), lambda s: s.delete("x")]
)
def test_what_comes_just_before_a_change_is_taken_in_first(
    pair: Pair, path: Path, monkeypatch: Patch, change: Callable[[VectorStore], Any]
) -> None:
    one, two = pair
    storage = one._local("test")._storage
    begin = storage.begin

    def late(*, write: bool = False) -> Any:
        if write and "late" not in two:
            two.delete("id 5")
            two.add_many(["late", "id 6", "x"], [QUERY] * 3)
        return begin(write=write)

    with monkeypatch.context() as patch, never_loaded():
        patch.setattr(storage, "begin", late)
        change(one)
    with never_loaded():
        assert whole(one) == whole(two)
    assert whole(one) == reopened(path)


def test_one_use_sees_one_state(pair: Pair, monkeypatch: Patch) -> None:
    one, two = pair
    catch_up = LocalBackend._catch_up

    def then_another_writes(store: LocalBackend) -> None:
        catch_up(store)
        if store is one._backend:
            two.add("late", QUERY, content="kettle kettle")
            two.delete("id 0")

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "_catch_up", then_another_writes)
        assert [hit.id for hit in one.search("kettle", 100, mode="lexical")] == IDS
    assert {hit.id for hit in one.search("kettle", 100, mode="lexical")} == {*IDS[1:], "late"}
    assert whole(one) == whole(two)


# What is read


def test_a_small_change_leaves_index_and_codes(path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((5_000, 96)).astype(np.float32)
    with VectorStore(96, path=path) as one, VectorStore(96, path=path) as two:
        one.add_many([f"id {i}" for i in range(5_000)], rows, [{"n": i} for i in range(5_000)])
        two.search(rows[0])
        index = two._local("test")._rows.index
        index.codes()  # which waits for them
        codes = index._accelerators.codes
        assert codes is not None
        with never_loaded():
            one.add_many(["new", "id 7", "id 8"], rows[[1, 2, 3]])
            one.delete(["id 1", "id 8"])
            one.add("id 8", rows[4])
            for row in rows[:6]:
                assert two.search(row, 20).plan.startswith("int8 scan")
                assert two.search(row, 20) == one.search(row, 20)
            assert two.search(rows[1], where={"n": {"$gt": 4_990}}) == one.search(
                rows[1], where={"n": {"$gt": 4_990}}
            )
        assert two._local("test")._rows.index is index
        assert index._accelerators.codes is codes


@pytest.mark.parametrize(("count", "loaded"), [(1_024, False), (1_025, True)])
def test_a_great_change_is_read_as_a_whole(
    pair: Pair, monkeypatch: Patch, count: int, loaded: bool
) -> None:
    one, two = pair
    index = two._local("test")._rows.index
    one.add_many([f"more {i}" for i in range(count)], np.ones((count, 2)))
    assert len(two) == 8 + count
    assert (two._local("test")._rows.index is not index) == loaded
    assert whole(two) == whole(one)


def test_rows_that_others_delete_are_dropped(pair: Pair, monkeypatch: Patch) -> None:
    monkeypatch.setattr(entry_rows, "_MIN_TOMBSTONES", 4)
    one, two = pair
    with never_loaded():
        for i in range(50):
            one.add(f"more {i}", QUERY)
            assert len(two) == 9
            one.delete(f"more {i}")
            assert len(two) == 8
            assert len(two._local("test")._rows.ids) <= 8 + 4 + 1
        assert whole(one) == whole(two)


def test_tombstones_that_could_not_be_dropped_are_harmless(pair: Pair, monkeypatch: Patch) -> None:
    monkeypatch.setattr(entry_rows, "_MIN_TOMBSTONES", 1)
    one, two = pair
    one.delete(IDS[:2])
    assert len(two) == 6
    one.add("a", QUERY)
    with monkeypatch.context() as patch:
        patch.setattr(MetadataColumns, "compact", broken)  # the index has been compacted by then
        assert whole(two) == whole(one)


def test_a_version_grows_with_changes_of_others(pair: Pair) -> None:
    one, two = pair
    version = two.version
    one.add("a", QUERY)
    assert len(two) == 9
    assert two.version > version
    version = two.version
    assert len(two) == 9
    assert two.version == version


# What goes wrong


def test_what_was_taken_in_halfway_is_read_again(pair: Pair, monkeypatch: Patch) -> None:
    one, two = pair
    one.add("a", QUERY)
    one.delete("id 0")
    with monkeypatch.context() as patch:
        patch.setattr(EntryRows, "put", broken)
        with pytest.raises(MemoryError):
            two.search(QUERY)
    assert whole(two) == whole(one)


def test_a_damaged_change_is_told_until_it_is_gone(pair: Pair) -> None:
    one, two = pair
    one.add("a", QUERY)
    connection = one._local("test")._storage._connection
    with connection:
        connection.execute("UPDATE entries SET metadata = '{\"n\": 2}' WHERE id = 'a'")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"is damaged.*entry 'a' has a wrong checksum"):
            two.search(QUERY)
    one.delete("a")
    assert whole(two) == whole(one)


def test_another_file_written_over_this_one_is_seen(pair: Pair, path: Path, tmp_path: Path) -> None:
    one, two = pair
    copy = one.save_to(tmp_path / "copy.db")
    one.delete(IDS[:3])
    one.add("a", QUERY)
    assert len(two) == 6
    with closing(sqlite3.connect(copy)) as saved, closing(sqlite3.connect(path)) as over:
        saved.backup(over)
    one.add("b", QUERY)
    assert whole(one) == whole(two)
    assert [entry.id for entry in two] == [*IDS, "b"]


def test_a_delete_of_what_is_not_there_waits_for_nobody(pair: Pair, path: Path) -> None:
    one, _ = pair
    one._local("test")._storage.patience = 0.01
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert one.delete(["x", "y"]) == 0
        with pytest.raises(
            StoreError, match=r"index\.db: another process is writing this store: try again"
        ):
            one.delete("id 0")
    assert one.delete("id 0") == 1


@pytest.mark.parametrize("elsewhere", ["sqlite", "store"])
def test_searches_go_on_while_a_write_waits_for_another(
    pair: Pair, path: Path, elsewhere: str
) -> None:
    one, two = pair
    with ExitStack() as stack:
        if elsewhere == "sqlite":
            other = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            other.execute("BEGIN IMMEDIATE")
        else:
            stack.enter_context(two._local("test")._storage.transaction(write=True))
        adding = threading.Thread(target=lambda: one.add("late", QUERY, content="kettle"))
        adding.start()
        for _ in range(20):
            assert [hit.id for hit in one.search(QUERY, 100)] == IDS
            assert len(one.search("kettle", 100, mode="lexical")) == len(one) == 8
            assert one.get("id 1") is not None
        assert adding.is_alive()
    adding.join(20)
    assert not adding.is_alive()
    assert [hit.id for hit in one.search(QUERY, 100)] == [*IDS, "late"]


# At once

CHANGES = """
import json, sys
import numpy as np
from conduit_lab.vectors.store import VectorStore
path, name = sys.argv[1:]
chance = np.random.default_rng(len(name))
with VectorStore(2, path=path) as store:
    print("open", flush=True)
    sys.stdin.readline()
    for i in range(120):
        ids = [f"{name} {i}", f"common {i % 7}"]
        store.add_many(ids, np.ones((2, 2)), [{"by": name, "i": i}] * 2, ["kettle"] * 2)
        if i % 3 == 0:
            store.delete([f"{name} {i - 2}", f"common {i % 5}"])
        assert f"{name} {i}" in {hit.id for hit in store.search(np.ones(2), 1_000)}
    print("done", flush=True)
    sys.stdin.readline()
    print(json.dumps([[hit.id, hit.metadata] for hit in store.search(np.ones(2), 1_000)]))
"""


def test_two_processes_end_with_the_same(path: Path) -> None:
    VectorStore(2, path=path).close()
    command = [sys.executable, "-c", CHANGES, str(path)]
    with ExitStack() as stack, VectorStore(path=path) as third:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                )
            )
            for name in ("one", "other")
        ]
        for line in ("open\n", "done\n"):
            for writer in writers:
                for _ in range(100):
                    third.search(QUERY, 1_000)
                assert writer.stdout is not None
                assert writer.stdout.readline() == line
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.write("go\n")
                writer.stdin.flush()
        found = [json.loads(writer.communicate()[0]) for writer in writers]
        assert [writer.returncode for writer in writers] == [0, 0]
        mine = [[hit.id, hit.metadata] for hit in third.search(QUERY, 1_000)]
    with VectorStore(path=path) as store:
        assert found == [[[entry.id, entry.metadata] for entry in store]] * 2
    assert mine == found[0]
    assert len(mine) > 150


def test_two_threads_with_a_store_each_read_no_more_than_changes(path: Path) -> None:
    errors: list[BaseException] = []

    def write(store: VectorStore, name: str) -> None:
        try:
            for i in range(100):
                store.add_many([f"{name} {i}", f"common {i % 7}"], np.ones((2, 2)))
                if i % 3 == 0:
                    store.delete([f"{name} {i - 2}", f"common {i % 5}"])
        except BaseException as error:
            errors.append(error)

    with VectorStore(2, path=path) as one, VectorStore(2, path=path) as two, never_loaded():
        threads = [
            threading.Thread(target=write, args=pair) for pair in ((one, "one"), (two, "two"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert whole(one) == whole(two)
    assert len(reopened(path)[0]) > 130
