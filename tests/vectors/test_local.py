"""Local: a change that fails halfway is as if it had not been tried, with a file and without."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors import filters, local
from conduit_lab.vectors.columns import Columns
from conduit_lab.vectors.disk import record
from conduit_lab.vectors.index.blocks import Blocks
from conduit_lab.vectors.index.index import Index
from conduit_lab.vectors.local import Local
from tests.vectors.conformance import DIMENSION, entry, plain

Patch = pytest.MonkeyPatch


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Patch) -> Iterator[Local]:
    """A store of nine entries and a dead row, which takes four entries at once."""
    monkeypatch.setattr(local, "_BLOCK", 4)
    store = Local(tmp_path / "store.db" if request.param == "file" else None, DIMENSION)
    store.upsert(
        [
            entry(f"id {i}", [i, *[1] * (DIMENSION - 1)], {"n": i}, f"old text {i}")
            for i in range(10)
        ]
    )
    store.delete(["id 4"])
    yield store
    store.close()


def whole(store: Local) -> Any:
    """All that can be asked of a store."""
    query = np.ones((1, DIMENSION), np.float32)
    ids = store.ids()
    return (
        [plain(one) for one in store.get(ids)],
        store.count(),
        store.search(query, 50).lists,
        store.search(query, 50, exact=True).lists,
        store.lexical("old new", 50),
        [store.ids(filters.parse({"n": {"$lt": n}})) for n in range(0, 40, 3)],
        [found is None for found in store.get([f"id {i}" for i in range(40)])],
    )


def failing(
    times: int, error: type[BaseException], real: Callable[..., Any], *, late: bool = False
) -> Any:
    """Return `real`, that fails the `times`-th time it is called, before or after it has done its work."""
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
        (Columns, name, times, late)
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
    store: Local,
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


def test_one_that_is_too_large_stores_nothing(store: Local, monkeypatch: Patch) -> None:
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


def test_a_delete_that_fails_removes_nothing(store: Local, monkeypatch: Patch) -> None:
    before = whole(store)
    with monkeypatch.context() as patch:
        patch.setattr(Local, "_bury", failing(1, MemoryError, Local._bury))
        with pytest.raises(MemoryError):
            store.delete(["id 1", "id 2"])
        assert whole(store) == before
    assert store.delete(["id 1", "id 2", "id 4"]) == 2
    assert store.count() == 7


def test_dead_rows_stay_where_there_is_no_room_to_drop_them(
    store: Local, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(local, "_SPARE", 1)
    with monkeypatch.context() as patch:
        patch.setattr(local, "compress", failing(1, MemoryError, compress))
        assert store.delete([f"id {i}" for i in range(7)]) == 6
        assert len(store._ids) == 10
    left = whole(store)
    assert store.ids() == ["id 7", "id 8", "id 9"]
    assert store.delete(["id 2"]) == 0
    store._compact()
    assert len(store._ids) == 3
    assert whole(store) == left


def test_what_cannot_be_put_back_is_read_again_or_told(store: Local, monkeypatch: Patch) -> None:
    monkeypatch.setattr(local, "_SPARE", 1)
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


def test_an_interrupt_waits_or_undoes(store: Local, monkeypatch: Patch) -> None:
    before, version, append = whole(store), store.version, Index.append

    def interrupted(index: Index, vectors: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        append(index, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(Index, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.upsert(MIXED)
    if store.path is None:
        assert store.version == version + 1
        assert store.count() == 15
    else:
        assert whole(store) == before
