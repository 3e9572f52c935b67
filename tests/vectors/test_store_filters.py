"""A store's filtered search against NumPy, however few entries a filter keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.filters import parse_filter
from conduit_lab.vectors.hits import Hits
from conduit_lab.vectors.store import VectorStore

COUNT, DIMENSION, TOP_K = 12_000, 32, 10
QUERIES = np.random.default_rng(6).standard_normal((20, DIMENSION), np.float32)
KEPT: dict[str, dict[str, Any]] = {
    "50 %": {"half": True},
    "10 %": {"tenth": {"$gte": 40, "$lt": 50}},
    "1 %": {"section": {"$in": ["s7"]}},
    "0.1 %": {"tags": {"$contains": "t3"}},
}


class Collection:
    """A store, and its vectors and metadata as they were given."""

    def __init__(self, store: VectorStore) -> None:
        random = np.random.default_rng(5)
        self.store = store
        self.vectors = random.standard_normal((COUNT, DIMENSION), np.float32)
        self.metadatas: list[dict[str, Any]] = [
            {
                "half": bool(random.random() < 0.5),
                "tenth": int(random.integers(100)),
                "section": f"s{random.integers(100)}",
                "tags": ["all", f"t{random.integers(1_000)}"],
            }
            for _ in range(COUNT)
        ]
        store.add_many([str(i) for i in range(COUNT)], self.vectors, self.metadatas)

    def kept(self, where: dict[str, Any]) -> npt.NDArray[np.int64]:
        return np.flatnonzero([parse_filter(where)(metadata) for metadata in self.metadatas])

    def best(self, query: FloatArray, rows: npt.NDArray[np.int64]) -> list[str]:
        """Return the ids of the best among `rows`, found in float64."""
        vectors, wide = self.vectors[rows].astype(np.float64), query.astype(np.float64)
        match self.store.metric:
            case "cosine":
                order = -(vectors @ wide) / np.linalg.norm(vectors, axis=1)
            case "dot":
                order = -(vectors @ wide)
            case "l2":
                order = np.linalg.norm(vectors - wide, axis=1)
            case _:
                order = np.abs(vectors - wide).sum(axis=1)
        return [str(row) for row in rows[np.argsort(order, kind="stable")[:TOP_K]]]


@pytest.fixture(scope="module", params=["cosine", "dot", "l2", "manhattan"])
def collection(request: pytest.FixtureRequest) -> Iterator[Collection]:
    with VectorStore(DIMENSION, request.param) as store:
        yield Collection(store)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("where", KEPT.values(), ids=KEPT.keys())
def test_a_filter_loses_nothing(collection: Collection, where: dict[str, Any], exact: bool) -> None:
    rows = collection.kept(where)
    assert len(rows) >= 5
    wanted = [collection.best(query, rows) for query in QUERIES]
    one_by_one = [collection.store.search(query, TOP_K, where, exact=exact) for query in QUERIES]
    together = collection.store.search(QUERIES, TOP_K, where, exact=exact)
    for found in (one_by_one, together):
        assert [len(hits) for hits in found] == [min(TOP_K, len(rows))] * len(QUERIES)
        recalls = [
            len(set(ids(hits)) & set(best)) / len(best)
            for hits, best in zip(found, wanted, strict=True)
        ]
        assert np.mean(recalls) >= (1.0 if exact else 0.99)


@pytest.mark.parametrize("where", KEPT.values(), ids=KEPT.keys())
def test_a_mask_finds_what_its_filter_finds(collection: Collection, where: dict[str, Any]) -> None:
    mask = np.zeros(COUNT, np.bool_)
    mask[collection.kept(where)] = True
    assert collection.store.search(QUERIES, TOP_K, mask) == collection.store.search(
        QUERIES, TOP_K, where
    )


def test_all_that_match_are_found_however_few(collection: Collection) -> None:
    rows = collection.kept(KEPT["0.1 %"])
    hits = collection.store.search(QUERIES[0], 10_000, KEPT["0.1 %"])
    assert sorted(ids(hits), key=int) == [str(row) for row in rows]
    assert [entry.id for entry in collection.store.entries(KEPT["0.1 %"])] == [
        str(row) for row in rows
    ]
    assert collection.store.search(QUERIES[0], 5, {"section": "none"}) == []


def test_a_filter_follows_every_change(tmp_path: Path) -> None:
    where = {"price": {"$lt": 10}}
    with (
        VectorStore(2, path=tmp_path / "prices.db") as store,
        VectorStore(2, path=tmp_path / "prices.db") as other,
    ):
        store.add_many(["a", "b", "c"], np.eye(3, 2), [{"price": 5}, {"price": 9.5}, {"price": 10}])
        assert ids(store.search([1, 0], 5, where)) == ["a", "b"]
        store.update("c", metadata={"price": 9.99})
        store.update("a", metadata={"price": "5"})
        other.add("d", [1, 0], {"price": -1})
        assert ids(store.search([1, 0], 5, where)) == ["d", "b", "c"]
        assert store.delete(where={"price": {"$in": [-1, 9.5]}}) == 2
        for each in (store, other):
            assert ids(each.search([1, 0], 5, where)) == ["c"]
    with VectorStore(2, path=tmp_path / "prices.db") as store:
        assert ids(store.search([1, 0], 5, where)) == ["c"]


def ids(hits: Hits) -> list[str]:
    return [hit.id for hit in hits]
