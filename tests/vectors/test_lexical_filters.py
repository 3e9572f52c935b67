"""Words with a filter: the best of the selected entries, in one pass, after any changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.vectors.arrays import BoolArray, IntArray
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.store import VectorStore


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    with VectorStore(2, path=tmp_path / "index.db" if request.param == "file" else None) as store:
        yield store


def fill(store: VectorStore, ids: range) -> None:
    contents = [f"kettle {'lamp ' * (i % 5)}" if i % 3 else None for i in ids]
    store.add_many([str(i) for i in ids], np.ones((len(ids), 2)), [{"n": i} for i in ids], contents)


def check(store: VectorStore) -> None:
    """Compare filtered searches with the unfiltered one, filtered here."""
    every = store.search("kettle lamp", 10_000, mode="lexical")
    assert len(every) == sum(entry.content is not None for entry in store)
    for where in (
        {"n": -1},
        {"n": {"$lt": 40}},
        {"n": {"$gte": 40}},
        {"n": {"$nin": [1, 2, 4]}},
        {},
    ):
        kept = {entry.id for entry in store.entries(where)}
        for top_k in (1, 7, 10_000):
            hits = store.search("kettle lamp", top_k, where, mode="lexical")
            assert list(hits) == [hit for hit in every if hit.id in kept][:top_k]


def test_every_hit_is_asked_about_once() -> None:
    storage = Storage(None, 2)
    storage.put(
        [Entry(str(i), np.zeros(2, np.float32), {}, "kettle", 1.0, 1.0) for i in range(10_000)]
    )
    seen: list[int] = []

    def keep(numbers: IntArray) -> BoolArray:
        seen.extend(numbers.tolist())
        return numbers > 9_990

    assert [id for id, _ in storage.lexical("kettle", 5, keep)] == [
        "9990",
        "9991",
        "9992",
        "9993",
        "9994",
    ]
    assert sorted(seen) == list(range(1, 10_001))
    storage.close()


def test_deleted_entries_and_new_ones_do_not_shift_the_others(store: VectorStore) -> None:
    fill(store, range(60))
    check(store)
    store.delete([str(i) for i in (0, 1, 30, 58, 59)])  # the last numbers are reused
    check(store)
    fill(store, range(59, 80))
    check(store)
    store.delete("79")
    fill(store, range(90, 95))
    store.update("7", content="a lamp alone")
    check(store)


def test_rows_that_close_up(store: VectorStore) -> None:
    fill(store, range(3_000))
    store.search("kettle", where={"n": 1}, mode="lexical")
    store.delete(where={"n": {"$lt": 2_950}})
    check(store)
    fill(store, range(3_000, 3_020))
    check(store)


def test_what_another_store_has_written(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with VectorStore(2, path=path) as one, VectorStore(2, path=path) as two:
        fill(one, range(50))
        check(two)
        two.delete([str(i) for i in range(40, 50)])
        fill(two, range(45, 70))
        check(one)
        fill(one, range(70, 75))
        check(two)


def test_a_snapshot_and_a_mask(store: VectorStore, tmp_path: Path) -> None:
    fill(store, range(50))
    store.delete("4")
    mask = np.arange(49) >= 45
    expected = [hit.id for hit in store.search("kettle", 50, mode="lexical") if int(hit.id) >= 46]
    assert [hit.id for hit in store.search("kettle", 50, mask, mode="lexical")] == expected
    with VectorStore(path=store.snapshot(tmp_path / "frozen")) as frozen:
        check(frozen)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["add", "delete", "search"]),
        st.lists(st.integers(0, 12), max_size=4, unique=True),
    ),
    max_size=15,
)


@given(CHANGES)
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_changes_in_any_order(changes: list[tuple[str, list[int]]]) -> None:
    with VectorStore(2) as store:
        for kind, ids in changes:
            if kind == "add":
                metadatas: list[dict[str, Any]] = [{"n": 10 * i} for i in ids]
                store.add_many(
                    [str(i) for i in ids], np.ones((len(ids), 2)), metadatas, ["kettle"] * len(ids)
                )
            elif kind == "delete":
                store.delete([str(i) for i in ids])
            else:
                check(store)
        check(store)


def test_a_hybrid_search_obeys_it_in_both_legs(store: VectorStore) -> None:
    class Ones:
        name, dimension = "ones", 2

        def encode(self, texts: Any) -> Any:
            return np.ones((len(texts), 2), np.float32)

    fill(store, range(400))
    store.embedder = Ones()
    hits = store.search("kettle", 30, {"n": {"$gte": 390}}, mode="hybrid")
    assert {hit.id for hit in hits} == {str(i) for i in range(390, 400)}
