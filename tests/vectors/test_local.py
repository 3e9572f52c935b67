"""Local backend: a change that fails halfway has no effect, with a file and without."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import compress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors import entry_rows, filters
from conduit_lab.vectors.columns import MetadataColumns
from conduit_lab.vectors.disk import record
from conduit_lab.vectors.entry_rows import EntryRows
from conduit_lab.vectors.index.blocks import Blocks
from conduit_lab.vectors.index.index import Index
from conduit_lab.vectors.local_backend import LocalBackend
from tests.vectors.conformance import DIMENSION, entry, plain

Patch = pytest.MonkeyPatch


@pytest.fixture(params=["memory", "file"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Patch
) -> Iterator[LocalBackend]:
    """A store of nine entries and a tombstone, which reads four entries at once."""
    monkeypatch.setattr(entry_rows, "_BLOCK_ROWS", 4)
    store = filled_store(tmp_path / "store.db" if request.param == "file" else None)
    yield store
    store.close()


def filled_store(path: Path | None) -> LocalBackend:
    store = LocalBackend(path, DIMENSION)
    store.upsert(
        [
            entry(f"id {i}", [i, *[1] * (DIMENSION - 1)], {"n": i}, f"old text {i}")
            for i in range(10)
        ]
    )
    store.delete(["id 4"])
    return store


@contextmanager
def interrupted_at(line: int) -> Iterator[list[int]]:
    """Raise KeyboardInterrupt at the `line`-th line of the stores' code in a change."""
    reached: list[int] = []
    lines = iter(range(1, 100_000))

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if "conduit_lab/vectors" not in path or name in LOCKING:
            return None
        inside = event == "line" and not reached and in_change(frame)
        if inside and next(lines) == line:
            reached.append(frame.f_lineno)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        yield reached
    finally:
        sys.settrace(None)


# The steps that take the lock and begin a transaction, in memory and for files.
LOCKING = ("_begin", "_fresh", "begin", "cancel", "_check_usable")


def in_change(frame: FrameType | None) -> bool:
    """Whether a change of the storage has begun."""
    while frame is not None:
        if frame.f_code.co_name in ("put", "remove", "add", "delete_rows", "ending"):
            return True
        frame = frame.f_back
    return False


def whole(store: LocalBackend) -> Any:
    """The results of all queries of a store."""
    query = np.ones((1, DIMENSION), np.float32)
    ids = store.ids()
    return (
        [plain(one) for one in store.get(ids)],
        store.count(),
        store.search(query, 50).lists,
        store.search(query, 50, exact=True).lists,
        store.lexical("old new", 50),
        [store.ids(filters.parse_filter({"n": {"$lt": n}})) for n in range(0, 40, 3)],
        [found is None for found in store.get([f"id {i}" for i in range(40)])],
    )


def failing(
    times: int, error: type[BaseException], real: Callable[..., Any], *, late: bool = False
) -> Any:
    """Return `real`, which fails at the `times`-th call, before or after its work."""
    calls = iter(range(1, 10_000))

    def call(*args: Any, **options: Any) -> Any:
        turn = next(calls)
        if turn == times and not late:
            raise error("injected")
        result = real(*args, **options)
        if turn == times:
            raise error("injected")
        return result

    return call


MIXED = [
    entry(f"id {i}", -1.0 - i, {"n": i + 20, "new": i}, f"new text {i}")
    for i in [20, 3, 21, 9, 22, 4, 0, 23, 24]
]
PLACES = [
    *(
        (Index, name, times, late)
        for name in ("append", "replace")
        for times in (1, 2)
        for late in (False, True)
    ),
    *(
        (MetadataColumns, name, times, late)
        for name in ("append", "replace")
        for times in (1, 2)
        for late in (False, True)
    ),
    *((Blocks, "append", times, False) for times in (1, 2, 3, 4)),
    *((np, "array", times, False) for times in (1, 2)),
    (record, "to_row", 7, False),
]


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
@pytest.mark.parametrize(("owner", "name", "times", "late"), PLACES)
def test_an_add_that_fails_stores_nothing(
    store: LocalBackend,
    monkeypatch: Patch,
    owner: Any,
    name: str,
    times: int,
    late: bool,
    error: type[Exception],
) -> None:
    before, version = whole(store), store.version
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing(times, error, getattr(owner, name), late=late))
        with pytest.raises(error, match="injected"):
            store.upsert(MIXED)
        assert whole(store) == before
        assert store.path is not None or store.version == version
    store.upsert(MIXED)
    assert store.ids() == [f"id {i}" for i in [0, 1, 2, 3, 5, 6, 7, 8, 9, 20, 21, 22, 4, 23, 24]]
    assert [plain(one)[1:3] for one in store.get([one.id for one in MIXED])] == [
        plain(one)[1:3] for one in MIXED
    ]
    again = whole(store)
    store._compact()
    assert whole(store) == again


def test_one_that_is_too_large_stores_nothing(store: LocalBackend, monkeypatch: Patch) -> None:
    before, real = whole(store), np.empty

    def empty(shape: Any, *args: Any) -> Any:
        if np.prod(shape) > 100 * DIMENSION:
            raise MemoryError
        return real(shape, *args)

    with monkeypatch.context() as patch:
        patch.setattr(np, "empty", empty)
        with pytest.raises(MemoryError):
            store.upsert([entry(f"many {i}") for i in range(100)])
        assert whole(store) == before
        store.upsert([entry("one")])
    assert store.count() == 10


def test_a_delete_that_fails_removes_nothing(store: LocalBackend, monkeypatch: Patch) -> None:
    before = whole(store)
    with monkeypatch.context() as patch:
        patch.setattr(EntryRows, "delete_rows", failing(1, MemoryError, EntryRows.delete_rows))
        with pytest.raises(MemoryError):
            store.delete(["id 1", "id 2"])
        assert whole(store) == before
    assert store.delete(["id 1", "id 2", "id 4"]) == 2
    assert store.count() == 7


def test_tombstones_stay_where_there_is_no_memory_to_drop_them(
    store: LocalBackend, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(entry_rows, "_MIN_TOMBSTONES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(entry_rows, "compress", failing(1, MemoryError, compress))
        assert store.delete([f"id {i}" for i in range(7)]) == 6
        assert len(store._rows.ids) == 10
    left = whole(store)
    assert store.ids() == ["id 7", "id 8", "id 9"]
    assert store.delete(["id 2"]) == 0
    store._compact()
    assert len(store._rows.ids) == 3
    assert whole(store) == left


def test_what_cannot_be_restored_is_read_again_or_closes_the_store(
    store: LocalBackend, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(entry_rows, "_MIN_TOMBSTONES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Index, "compact", failing(1, MemoryError, Index.compact))
        assert store.delete([f"id {i}" for i in range(7)]) == 6
    if store.path is None:
        with pytest.raises(StoreError, match="in memory is closed: a change of it failed halfway"):
            store.ids()
        with pytest.raises(StoreError, match="the store is closed"):
            store.upsert(MIXED)
    else:
        assert store.ids() == ["id 7", "id 8", "id 9"]


def test_an_interrupt_undoes(store: LocalBackend, monkeypatch: Patch) -> None:
    before, append = whole(store), Index.append

    def interrupted(index: Index, vectors: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        append(index, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(Index, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.upsert(MIXED)
    assert whole(store) == before
    store.upsert(MIXED)
    assert store.count() == 15


def test_an_interrupt_of_a_compaction_loses_nothing(
    store: LocalBackend, monkeypatch: Patch
) -> None:
    compact, version = Index.compact, store.version

    def interrupted(index: Index, live: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        compact(index, live)

    monkeypatch.setattr(entry_rows, "_MIN_TOMBSTONES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Index, "compact", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.delete([f"id {i}" for i in range(7)])
    assert store.ids() == ["id 7", "id 8", "id 9"]
    assert store.version > version


def test_a_write_leaves_the_handler_of_interrupts_alone(
    store: LocalBackend, monkeypatch: Patch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the handler was replaced")

    monkeypatch.setattr(signal, "signal", refuse)
    store.upsert(MIXED)
    assert store.delete(["id 1", "id 20"]) == 2
    store.write_notes("test ", {"key": "value"})


@pytest.mark.parametrize("action", ["upsert", "delete"])
def test_an_interrupt_at_any_line_of_a_change_undoes_it_or_comes_after(action: str) -> None:
    """Interrupt a store in memory at each line from the storage's change to its end."""

    def change(store: LocalBackend) -> None:
        if action == "upsert":
            store.upsert(MIXED)
        else:
            store.delete(["id 1", "id 2", "id 7"])

    store = filled_store(None)
    before = whole(store)
    change(store)
    after, undone, done = whole(store), 0, 0
    store.close()
    for line in range(1, 10_000):
        store = filled_store(None)
        # SQLite reports an interrupt of `fold` as its own error.
        with interrupted_at(line) as reached, suppress(KeyboardInterrupt, StoreError):
            change(store)
        found = whole(store)
        assert found in (before, after)
        undone, done = undone + (found == before), done + (found == after)
        change(store)
        assert whole(store) == after
        store.close()
        if not reached:
            break
    assert undone > 20
    assert done > 1
