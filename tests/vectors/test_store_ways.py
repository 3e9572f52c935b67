"""VectorStore beyond add and search by embedding: batches, update, delete by filter, MMR."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span_facts import remarks
from conduit_lab.vectors.hits import Hits
from conduit_lab.vectors.store import VectorStore
from tests.vectors.test_store import Letters


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    path = tmp_path / "letters.db" if request.param == "file" else None
    with VectorStore(path=path, embedder=Letters(), name="letters") as store:
        yield store


def ids(hits: Hits) -> list[str]:
    return [hit.id for hit in hits]


# Many


def test_texts_get_ids_of_their_own(store: VectorStore) -> None:
    made = store.add_texts(["aa", "bb", "bb"], [{"n": i} for i in range(3)])
    assert len(set(made)) == len(store) == 3
    assert [entry.metadata["n"] for entry in store] == [0, 1, 2]
    assert store.search("a", 1)[0].id == made[0]
    assert store.add_texts(["cc"], ids=["mine"]) == ["mine"]
    with pytest.raises(VectorInputError, match="must be a list of text, got one text"):
        store.add_texts("aa")


def test_a_dataframe_is_a_batch(store: VectorStore) -> None:
    frame = pd.DataFrame(
        {
            "id": ["x", "y"],
            "embedding": [np.array([1.0, 0, 0, 0]), np.array([0, 1.0, 0, 0])],
            "content": ["eks", None],
            "price": np.array([1.5, np.nan]),
            "count": np.array([3, 4]),
            "day": [pd.Timestamp("2026-01-02"), pd.NaT],
        }
    )
    store.add_many(frame)
    assert store["x"].metadata == {"price": 1.5, "count": 3, "day": "2026-01-02T00:00:00"}
    assert store["y"].metadata == {"count": 4}
    assert (store["x"].content, store["y"].content) == ("eks", None)
    assert store["y"].embedding.tolist() == [0, 1, 0, 0]


class ArrowLike:
    """The two things that an Arrow table is known by."""

    columns = ()

    def to_pydict(self) -> dict[str, list[Any]]:
        return {"id": ["x"], "content": ["bb"], "tags": [["new", "red"]]}


def test_an_arrow_table_is_a_batch(store: VectorStore) -> None:
    store.add_many(ArrowLike())
    assert store["x"].metadata == {"tags": ["new", "red"]}
    assert store["x"].embedding.tolist() == [0, 2, 0, 0]


def test_a_table_without_the_columns_is_refused(store: VectorStore) -> None:
    with pytest.raises(
        VectorInputError, match="a table expects the column 'id' and 'embedding', 'content' or both"
    ):
        store.add_many(pd.DataFrame({"id": ["a"], "text": ["b"]}))
    with pytest.raises(VectorInputError, match="expected a table alone, which holds all columns"):
        store.add_many(pd.DataFrame({"id": ["a"], "content": ["b"]}), [[1, 2, 3, 4]])


def test_many_queries_give_a_list_of_hits(store: VectorStore) -> None:
    store.add_many(["a", "b", "c"], np.eye(4)[:3])
    batches: tuple[Any, ...] = (["a", "c"], np.eye(4)[[0, 2]], [[1, 0, 0, 0], [0, 0, 1, 0]])
    for queries in batches:
        found = store.search(queries, top_k=1)
        assert [ids(hits) for hits in found] == [["a"], ["c"]]
    assert store.search(np.empty((0, 4))) == []
    with pytest.raises(VectorInputError, match="the query, row 1, has nan at position 2"):
        store.search(np.array([[1, 0, 0, 0], [1, 0, np.nan, 0]]))
    with pytest.raises(
        VectorInputError,
        match=r"expects float32 \[4\], or a batch of such rows, got float64 \[2, 3\]",
    ):
        store.search(np.ones((2, 3)))


def test_everything_as_a_dataframe(store: VectorStore) -> None:
    store.add("a", metadata={"n": 1, "content": "aa"})
    store.add("b", [0, 1, 0, 0], {"n": 2})
    frame = store.to_pandas()
    assert frame["id"].tolist() == ["a", "b"]
    assert frame["n"].tolist() == [1, 2]
    assert frame["content"].tolist()[0] == frame["metadata.content"].tolist()[0] == "aa"
    assert frame["embedding"][1].tolist() == [0, 1, 0, 0]
    assert abs(pd.Timestamp.now("UTC") - frame["created_at"][0]) < pd.Timedelta(minutes=1)


# Changing


def test_update_changes_what_is_given(store: VectorStore) -> None:
    store.add("x", [1, 2, 3, 4], {"a": 1, "b": 2}, "aa")
    store.add("y", [1, 2, 3, 4])
    created = store["x"].created_at
    store.update("x", metadata={"b": 3, "c": None})
    assert store["x"].metadata == {"a": 1, "b": 3, "c": None}
    assert store["x"].content == "aa"
    assert store["x"].embedding.tolist() == [1, 2, 3, 4]
    store.update("x", content="bb")
    assert store["x"].embedding.tolist() == [0, 2, 0, 0]
    store.update("x", [4, 3, 2, 1])
    assert (store["x"].content, store["x"].embedding.tolist()) == ("bb", [4, 3, 2, 1])
    store.update("x", [0, 0, 0, 1], content="")
    assert (store["x"].content, store["x"].embedding.tolist()) == ("", [0, 0, 0, 1])
    assert store["x"].created_at == created <= store["x"].updated_at
    assert [entry.id for entry in store] == ["x", "y"]


def test_update_of_what_is_not_there(store: VectorStore) -> None:
    with pytest.raises(VectorInputError, match="there is no entry 'x' to update: add it first"):
        store.update("x", metadata={"a": 1})


def test_updates_from_many_threads_are_all_kept(store: VectorStore) -> None:
    store.add("x", [1, 2, 3, 4])

    def work(number: int) -> None:
        for i in range(20):
            store.update("x", metadata={f"{number} {i}": i})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store["x"].metadata) == 80


def test_delete_by_filter(store: VectorStore) -> None:
    store.add_many([str(i) for i in range(6)], np.ones((6, 4)), [{"n": i} for i in range(6)])
    assert store.delete(where={"n": {"$gte": 4}}) == 2
    assert store.delete(where=np.array([True, False, False, True])) == 2
    assert [entry.id for entry in store] == ["1", "2"]
    both_or_none: tuple[dict[str, Any], ...] = ({}, {"ids": "1", "where": {"n": 1}})
    for arguments in both_or_none:
        with pytest.raises(VectorInputError, match="delete expects ids or where=, got"):
            store.delete(**arguments)


def test_many_deletions_keep_the_order_and_what_is_left(store: VectorStore) -> None:
    count = 3_000
    vectors = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    store.add_many([str(i) for i in range(count)], vectors, [{"n": i} for i in range(count)])
    gone = [str(i) for i in range(count) if i % 3]
    assert store.delete(gone) == len(gone)
    left = [str(i) for i in range(0, count, 3)]
    assert [entry.id for entry in store] == left
    assert store["300"].embedding.tolist() == vectors[300].tolist()
    assert ids(store.search(vectors[300], 1, {"n": {"$lt": 400}})) == ["300"]
    store.add("1", vectors[1])
    assert [entry.id for entry in store] == [*left, "1"]


# Looking


def test_a_mask_is_a_filter(store: VectorStore) -> None:
    store.add_many(["a", "b", "c"], np.ones((3, 4)), [{"n": i} for i in range(3)])
    store.delete("a")
    assert ids(store.search([1, 1, 1, 1], where=store.to_pandas()["n"] > 1)) == ["c"]
    with pytest.raises(
        VectorInputError, match=r"expects a mask with one value per entry, bool \[2\], got \[3\]"
    ):
        store.search([1, 1, 1, 1], where=[True, False, True])
    with pytest.raises(VectorInputError, match="a filter is a dict"):
        store.search([1, 1, 1, 1], where=[1, 0])


def test_entries_of_a_filter(store: VectorStore) -> None:
    store.add_many([str(i) for i in range(600)], np.ones((600, 4)), [{"n": i} for i in range(600)])
    assert [entry.id for entry in store.entries({"n": {"$gte": 597}})] == ["597", "598", "599"]


WORDS = {
    "kettle": "The kettle is broken. aa",
    "fridge": "A loud fridge. bb",
    "money": "Where is my money? ab",
}


def test_lexical_search_finds_words(store: VectorStore) -> None:
    store.add_many(
        list(WORDS), contents=list(WORDS.values()), metadatas=[{"n": i} for i in range(3)]
    )
    assert ids(store.search("kettles that broke", mode="lexical")) == ["kettle"]
    assert ids(store.search("the fridge and the kettle", mode="lexical", where={"n": 1})) == [
        "fridge"
    ]
    assert ids(store.search("nothing of this", mode="lexical")) == []
    assert [ids(hits) for hits in store.search(["fridge", "money"], mode="lexical")] == [
        ["fridge"],
        ["money"],
    ]
    store.update("fridge", content="A washing machine.")
    assert ids(store.search("fridge", mode="lexical")) == []
    store.delete("money")
    assert ids(store.search("money", mode="lexical")) == []


def test_lexical_search_goes_on_until_the_filter_has_enough(store: VectorStore) -> None:
    count = 700
    names = [str(i) for i in range(count)]
    store.add_many(names, np.ones((count, 4)), [{"n": i} for i in range(count)], ["kettle"] * count)
    assert len(store.search("kettle", 3, {"n": {"$gte": count - 2}}, mode="lexical")) == 2
    assert len(store.search("kettle", 500, {"n": {"$gte": 100}}, mode="lexical")) == 500


def test_hybrid_search_fuses_both(store: VectorStore) -> None:
    store.add_many(["sense", "both", "words"], contents=["cccc", "cc kettle", "kettle d"])
    hits = store.search("cc kettle", mode="hybrid")
    assert hits[0].id == "both"
    assert set(ids(hits)) == {"sense", "both", "words"}
    assert "fused" in hits.plan
    assert hits[0].score > hits[1].score
    with pytest.raises(VectorInputError, match="hybrid reads words, and the query is an embedding"):
        store.search([1, 0, 0, 0], mode="hybrid")


def test_variety(store: VectorStore) -> None:
    store.add_many(["a", "twin", "b"], np.array([[1, 0.1, 0, 0], [1, 0.1, 0, 0], [0.9, 0, 0.5, 0]]))
    assert ids(store.search([1, 0, 0, 0], 2)) == ["a", "twin"]
    hits = store.search([1, 0, 0, 0], 2, mmr=0.5)
    assert ids(hits) == ["a", "b"]
    assert "mmr" in hits.plan


def test_hits_tell_how_similar_the_best_is_whatever_decided(store: VectorStore) -> None:
    store.add_many(["a", "b"], contents=["a kettle", "a"])
    dense = store.search("a", 1)
    assert dense.best == dense[0].score == 1.0
    assert store.search("a", mode="hybrid").best == 1.0
    assert store.search("a", rerank=LongestFirst()).best == 1.0
    assert store.search("kettle", mode="lexical").best is None
    assert store.search("a", where={"n": 1}).best is None


class LongestFirst:
    def score(self, query: str, passages: Sequence[str]) -> FloatArray:
        assert query == "a"
        return np.array([len(passage) for passage in passages], np.float32)


def test_a_reranker_has_the_last_word(store: VectorStore) -> None:
    store.add_many(["one", "two"], contents=["a", "a b b b"])
    hits = store.search("a", 1, rerank=LongestFirst())
    assert ids(hits) == ["two"]
    assert hits[0].score == 7
    assert "2 reranked" in hits.plan
    with pytest.raises(VectorInputError, match="rerank reads words"):
        store.search([1, 0, 0, 0], rerank=LongestFirst())


@pytest.mark.parametrize(
    "how",
    [
        {"mode": "fuzzy"},
        {"mmr": 2},
        {"mmr": True},
        {"mmr": "0.5"},
        {"fusion": "sum"},
        {"top_k": 0},
        {"top_k": True},
    ],
)
def test_a_search_that_cannot_be(store: VectorStore, how: Any) -> None:
    with pytest.raises(VectorInputError):
        store.search([1, 0, 0, 0], **how)


def test_more_like_one(store: VectorStore) -> None:
    store.add_many(["a", "b", "c"], np.array([[1, 0, 0, 0], [1, 0.1, 0, 0], [0, 1, 0, 0]]))
    assert ids(store.more_like("a", 1)) == ["b"]
    assert ids(store.more_like("a")) == ["b", "c"]
    with pytest.raises(KeyError, match="no entry 'zz'"):
        store.more_like("zz")
    top_k: Any
    for top_k in (0, "3", 2.5, True):
        with pytest.raises(VectorInputError, match="top_k is a whole number from 1"):
            store.more_like("a", top_k)


def test_duplicates(store: VectorStore) -> None:
    store.add_many(["a", "b", "c"], np.array([[1, 0, 0, 0], [2, 0.01, 0, 0], [0, 1, 0, 0]]))
    assert [group.ids for group in store.duplicates()] == [["a", "b"]]


def test_the_plan_is_in_the_trace_and_the_hits(store: VectorStore) -> None:
    store.add("a", [1, 0, 0, 0])
    with recorder.record("call") as recorded:
        hits = store.search([1, 0, 0, 0])
    assert hits.plan == remarks(recorded["letters"].attributes)
    assert hits.plan in repr(hits)


@pytest.mark.parametrize(
    ("metric", "order", "scores"),
    [
        ("cosine", ["near", "far", "side"], [1, 1, 0]),
        ("dot", ["far", "near", "side"], [8, 2, 0]),
        ("l2", ["near", "far", "side"], [1, 2, 8**0.5]),
        ("manhattan", ["near", "far", "side"], [1, 2, 4]),
    ],
)
def test_metrics(metric: str, order: list[str], scores: list[float]) -> None:
    with VectorStore(2, metric) as store:
        store.add_many(["side", "far", "near"], [[0, 2], [4, 0], [1, 0]])
        hits = store.search([2, 0])
        assert set(ids(hits)) == set(order)
        assert [hit.score for hit in hits] == pytest.approx(scores)
        assert ids(hits) == (
            ["far", "near", "side"] if metric == "cosine" else order
        )  # far was added first


# Copies


def test_a_store_in_memory_is_saved_as_a_file(store: VectorStore, tmp_path: Path) -> None:
    store.add_many(
        ["a", "b", "c"], np.eye(4)[:3], [{"n": i} for i in range(3)], ["x", None, "kettle"]
    )
    store.delete("a")
    with VectorStore(4, path=store.save_to(tmp_path / "copy.db")) as copy:
        assert [
            (e.id, e.embedding.tolist(), e.metadata, e.content, e.created_at) for e in copy
        ] == [(e.id, e.embedding.tolist(), e.metadata, e.content, e.created_at) for e in store]
        assert ids(copy.search("kettle", mode="lexical", where={"n": 2})) == ["c"]


def test_a_snapshot_is_searched_and_replaced(store: VectorStore, tmp_path: Path) -> None:
    store.add_many(
        ["a", "b", "c"], np.eye(4)[:3], [{"n": i} for i in range(3)], ["x", None, "kettle"]
    )
    store.delete("a")
    folder = store.snapshot(tmp_path / "frozen")
    with VectorStore(path=folder, embedder=Letters()) as frozen:
        assert ids(frozen.search("b", 1)) == ["b"]
        assert ids(frozen.search("kettle", mode="lexical", where={"n": 2})) == ["c"]
        assert frozen["c"].embedding.tolist() == [0, 0, 1, 0]
        for change in (lambda: frozen.add("z", [1, 0, 0, 0]), lambda: frozen.delete("b")):
            with pytest.raises(StoreError, match="is a snapshot, which is read-only"):
                change()
        before = frozen.version
        store.add("z", [0, 0, 0, 1])
        store.snapshot(folder)
        assert ids(frozen.search([0, 0, 0, 1], 1)) == ["z"]
        assert frozen.version > before
        assert len(frozen) == 3
        with VectorStore(path=frozen.save_to(tmp_path / "again.db"), embedder=Letters()) as again:
            assert [entry.id for entry in again] == ["b", "c", "z"]


def test_a_snapshot_that_cannot_be_opened_leaves_the_old_one_in_service(
    store: VectorStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.add_many(["a", "b"], np.eye(4)[:2])
    folder = store.snapshot(tmp_path / "frozen")
    with VectorStore(path=folder, embedder=Letters()) as frozen:
        store.add("c", [0, 0, 1, 0])
        store.snapshot(folder)
        newest = folder / (folder / "current").read_text().strip()
        (newest / "entries.db").write_bytes(b"broken")
        for _ in range(3):
            assert ids(frozen.search([1, 0, 0, 0])) == ["a", "b"]
        assert (
            len([r for r in caplog.records if "continues with its current snapshot" in r.message])
            == 1
        )


def test_a_hybrid_search_weighs_meaning_above_words() -> None:
    with VectorStore(embedder=Letters()) as store:
        store.add("words", [0, 0, 0, 1], content="cab")
        store.add("meaning", [1, 1, 1, 0], content="other")
        hits = store.search("cab", mode="hybrid")
        assert [(hit.id, hit.score) for hit in hits] == [("meaning", 0.7), ("words", 0.3)]
