"""A forked child searches and writes with the parent's stores, whatever its threads were doing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core import forking
from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.store import VectorStore

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]
ONE = [1.0, 0.0]


def in_child(work: Callable[[], bool]) -> bool:
    """Return the result of `work` in a forked child, which is killed after 20 s."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            os._exit(0 if work() else 3)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(4)
    return os.waitpid(pid, 0)[1] == 0


@pytest.fixture(params=[True, False])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> VectorStore:
    store = VectorStore(2, path=tmp_path / "notes.db" if request.param else None)
    store.add_many([f"id {i}" for i in range(300)], np.ones((300, 2)), contents=["kettle"] * 300)
    return store


def test_a_child_searches_while_threads_of_the_parent_work(store: VectorStore) -> None:
    stop = threading.Event()

    def work(thread: int) -> None:
        n = 0
        while not stop.is_set():
            n += 1
            store.search(ONE, 10)
            store.search("kettle", 5, mode="lexical")
            store.add(f"thread {thread} {n % 5}", ONE, content="lamp")

    def child() -> bool:
        found = store.search(ONE, 500)
        store.add("child", ONE)
        worded = store.search("kettle", 500, mode="lexical")
        return (
            len(found) >= 300
            and "child" in store
            and len(worded) == 300
            and store.delete("child") == 1
        )

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert all(in_child(child) for _ in range(12))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(store) == 310
    store.close()


def test_parent_and_child_see_each_others_writes(tmp_path: Path) -> None:
    with VectorStore(2, path=tmp_path / "notes.db") as store:
        store.add("before", ONE)

        def child() -> bool:
            with VectorStore(path=tmp_path / "notes.db") as another:
                another.add("by another", ONE)
            store.add("child", ONE)
            return [hit.id for hit in store.search(ONE)] == ["before", "by another", "child"]

        assert in_child(child)
        store.add("after", ONE)
        assert [hit.id for hit in store.search(ONE)] == ["before", "by another", "child", "after"]
    assert [file.name for file in tmp_path.iterdir()] == ["notes.db"]


def test_a_child_that_ends_leaves_the_parents_file_and_locks(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    with VectorStore(2, path=path) as store:
        store.add("a", ONE)

        def child() -> bool:
            store.add("b", ONE)
            store.close()
            VectorStore(path=path).close()
            return True

        assert in_child(child)
        assert Path(f"{path}-wal").exists()
        store.add("c", ONE)
        assert len(store) == 3
    with VectorStore(path=path) as store:
        assert [entry.id for entry in store] == ["a", "b", "c"]


def test_a_child_may_close_a_store_that_it_never_used(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    with VectorStore(2, path=path) as store:
        store.add("a", ONE)

        def child() -> bool:
            store.close()
            with VectorStore(path=path) as again:
                again.add("b", ONE)
            return True

        assert in_child(child)
        store.add("c", ONE)
        assert [entry.id for entry in store] == ["a", "b", "c"]


@pytest.mark.parametrize("lock", ["_lock", "_writing", "_opening"])
def test_a_lock_that_is_never_given_back_stops_no_child(
    store: VectorStore, lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forking, "MAX_FORK_WAIT_SECONDS", 0.1)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with getattr(store._backend if lock == "_lock" else store, lock):
            held.set()
            done.wait()

    def child() -> bool:
        if (
            store.path is None and lock == "_lock"
        ):  # its rows may be mid-change, and are the only copy
            with pytest.raises(StoreError, match="there is no other copy"):
                store.add("child", ONE)
            return True
        store.add("child", ONE)
        return len(store.search(ONE, 500)) == 301

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_child(child)
    finally:
        done.set()
        thread.join()
    store.close()


def test_a_fork_does_not_keep_what_is_dropped(tmp_path: Path) -> None:
    before = len(forking._owned)
    for i in range(3):
        VectorStore(2, path=tmp_path / f"{i}.db").close()
    VectorStore(2)
    assert len(forking._owned) <= before + 3
