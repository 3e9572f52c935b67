"""A store with a file: it opens again, is shared, copied, and left right by an interrupt."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core import paths
from conduit_lab.core.errors import StoreError
from conduit_lab.core.progress import Progress
from conduit_lab.vectors.hits import Hits
from conduit_lab.vectors.store import VectorStore
from tests.vectors.test_store import Letters

VECTORS = np.random.default_rng(1).standard_normal((60, 8)).astype(np.float32)
QUERY = np.random.default_rng(2).standard_normal(8).astype(np.float32)


def fill(store: VectorStore) -> None:
    ids = [f"id {i}" for i in range(len(VECTORS))]
    store.add_many(
        ids, VECTORS, [{"n": i} for i in range(len(ids))], [f"text {i}" for i in range(len(ids))]
    )


def answer(store: VectorStore) -> Hits:
    hits = store.search(QUERY, top_k=100)
    assert isinstance(hits, Hits)
    return hits


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


def test_reopening_gives_the_same(path: Path) -> None:
    with VectorStore(8, path=path) as store:
        fill(store)
        store.delete(["id 0", "id 30"])
        store.add("id 5", VECTORS[0], {"replaced": True})
        before, entries = (
            answer(store),
            [(e.id, e.embedding.tolist(), e.created_at, e.updated_at) for e in store],
        )
    assert [file.name for file in path.parent.iterdir()] == ["index.db"]
    with VectorStore(8, path=path) as store:
        assert answer(store) == before
        assert [(e.id, e.embedding.tolist(), e.created_at, e.updated_at) for e in store] == entries
        assert store.name == "index"


@pytest.mark.parametrize("lazy", [False, True])
def test_a_file_tells_its_dimension_and_metric(path: Path, tmp_path: Path, lazy: bool) -> None:
    with VectorStore(8, "l2", path) as store:
        fill(store)
        before = answer(store)
        copies = [path, store.save_to(tmp_path / "copy.db"), store.snapshot(tmp_path / "frozen")]
    for copy in copies:
        with VectorStore(path=copy, lazy=lazy) as store:
            assert (store.metric, store.dimension) == ("l2", 8)
            assert answer(store) == before
        with VectorStore(8, path=copy) as store, VectorStore(metric="l2", path=copy) as other:
            assert answer(store) == answer(other) == before


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            {"dimension": 9},
            "expected a store file with dimension 9, got 8: "
            "use the dimension that it was created with, "
            "or choose another path",
        ),
        (
            {"metric": "cosine"},
            "with metric cosine, got l2: use the metric that it was created with",
        ),
        ({"embedder": Letters()}, "with dimension 4, got 8"),
    ],
)
def test_a_file_of_another_kind_is_refused(path: Path, named: Any, message: str) -> None:
    VectorStore(8, "l2", path).close()
    with pytest.raises(StoreError, match=rf"index\.db: .*{message}"):
        VectorStore(path=path, **named)


def test_a_new_store_is_by_default_the_embedders_and_cosine(path: Path) -> None:
    with VectorStore() as store, VectorStore(path=path, embedder=Letters()) as embedding:
        assert (store.dimension, store.metric) == (384, "cosine")
        assert (embedding.dimension, embedding.metric) == (4, "cosine")


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
        with pytest.raises(StoreError, match=r"nowhere/index\.db: cannot write the store"):
            store.save_to(tmp_path / "nowhere" / "index.db")
    assert [file.name for file in copy.parent.iterdir()] == ["index.db"]
    with VectorStore(8, path=copy) as store:
        assert answer(store) == before


def test_stores_that_share_a_file_see_each_other(path: Path) -> None:
    with VectorStore(8, path=path) as one, VectorStore(8, path=path) as two:
        one.add("a", QUERY)
        assert "a" in two
        version = two.version
        two.add("b", QUERY)
        two.delete("a")
        assert [hit["id"] for hit in answer(one)] == ["b"]
        assert len(two) == 1
        assert two.version > version


def test_a_dropped_store_leaks_nothing(path: Path) -> None:
    store = VectorStore(8, path=path)
    store.add("a", QUERY)
    del store
    gc.collect()
    assert [file.name for file in path.parent.iterdir()] == ["index.db"]


def test_a_full_disk_changes_nothing(path: Path) -> None:
    with VectorStore(8, path=path) as store:
        fill(store)
        before = answer(store)
        connection = store._local("test")._storage._connection
        page_limit = connection.execute("PRAGMA page_count").fetchone()[0] + 1
        connection.execute(f"PRAGMA max_page_count = {page_limit}")
        with pytest.raises(
            StoreError, match=r"index\.db: cannot write the store: database or disk is full"
        ):
            store.add("big", QUERY, content="x" * 100_000)
        assert answer(store) == before
        store.add("small", QUERY)
    with VectorStore(8, path=path) as store:
        assert len(store) == 61


def test_an_interrupted_write_stores_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with VectorStore(8, path=path) as store:
        fill(store)
        before = answer(store)

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(store._local("test")._rows.index, "append", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.add("a", QUERY)
        assert answer(store) == before
    with VectorStore(8, path=path) as store:
        assert answer(store) == before


def test_opening_counts_the_entries(path: Path, jobs: list[Progress]) -> None:
    with VectorStore(8, path=path) as store:
        fill(store)
    with VectorStore(8, path=path):
        job = jobs[-1]
    assert (job.name, job.done, job.total) == ("open index", len(VECTORS), len(VECTORS))
