"""VectorStore: inputs, answers and views."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.progress import Progress
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.trace import recorder
from conduit_lab.vectors import search
from conduit_lab.vectors.hits import Hits
from conduit_lab.vectors.store import VectorStore


class Letters:
    """An embedder that counts the letters a to d."""

    name = "letters"
    dimension = 4

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        if isinstance(texts, str):
            return np.array([texts.count(letter) for letter in "abcd"], np.float32)
        return np.stack([self.encode(text) for text in texts])


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    path = tmp_path / "handbook.db" if request.param == "file" else None
    with VectorStore(4, path=path, name="handbook") as store:
        yield store


def ids(hits: Hits) -> list[str]:
    return [hit.id for hit in hits]


def test_add_and_search(store: VectorStore) -> None:
    store.add("returns", [1, 0, 0, 0], {"section": "returns", "content": "Send it back."})
    store.add("warranty", np.array([1, 1, 0, 0], np.float64), {"section": "warranty"}, "Two years.")
    store.add("other", np.array([-1, 0, 0, 0], np.float16))
    hits = store.search([2, 0, 0, 0], top_k=2)
    assert ids(hits) == ["returns", "warranty"]
    first = hits[0]
    assert first.score == first["score"] == 1.0
    assert first.content == first["content"] == "Send it back."
    assert first.metadata == {"section": "returns", "content": "Send it back."}
    assert hits[1].score == pytest.approx(0.5**0.5)
    assert store.search([1, 0, 0, 0])[-1].score == -1.0
    assert json.loads(json.dumps(hits))[1] == dict(hits[1])


def test_container(store: VectorStore) -> None:
    store.add_many(["b", "a", "c"], np.eye(4)[:3], contents=["B", None, "C"])
    assert len(store) == 3
    assert "a" in store
    assert 5 not in store
    assert [entry.id for entry in store] == store._ipython_key_completions_() == ["b", "a", "c"]
    assert store["b"].content == "B"
    assert store["a"].embedding.tolist() == [0, 1, 0, 0]
    assert store.get("zz") is None
    with pytest.raises(KeyError, match="'handbook' has no entry 'zz'"):
        store["zz"]


def test_replacing_keeps_place_and_creation(store: VectorStore) -> None:
    store.add_many(["a", "b"], [[1, 0, 0, 0], [1, 0, 0, 0]])
    created = store["a"].created_at
    store.add("a", [2, 0, 0, 0], {"new": True}, "text")
    assert len(store) == 2
    assert store["a"].created_at == created <= store["a"].updated_at
    assert store["a"].embedding.tolist() == [2, 0, 0, 0]
    hits = store.search([1, 0, 0, 0])
    assert ids(hits) == ["a", "b"]
    assert hits[0].metadata == {"new": True}


def test_delete(store: VectorStore) -> None:
    store.add_many(list("abcd"), np.eye(4))
    assert store.delete("b") == 1
    assert store.delete(["b", "d", "d", "nobody"]) == 1
    assert [entry.id for entry in store] == ["a", "c"]
    assert ids(store.search([0, 1, 0, 1], top_k=9)) == ["a", "c"]
    store.add("b", [0, 1, 0, 0])
    assert [entry.id for entry in store] == ["a", "c", "b"]


def test_equal_vectors_tie_in_the_order_of_adding() -> None:
    rng = np.random.default_rng(3)
    store = VectorStore(31)
    vector = rng.standard_normal(31)
    store.add_many([f"other {i}" for i in range(50)], rng.standard_normal((50, 31)))
    store.add_many([f"same {i}" for i in range(200)], np.tile(vector, (200, 1)))
    store.delete([f"other {i}" for i in range(50)])
    assert ids(store.search(vector, top_k=60)) == [f"same {i}" for i in range(60)]


def test_near_ties_are_told_apart() -> None:
    rng = np.random.default_rng(4)
    store = VectorStore(384)
    vectors = rng.standard_normal(384) + rng.standard_normal((2_000, 384)) * 1e-6
    store.add_many([str(i) for i in range(2_000)], vectors)
    for query in vectors[:5] + rng.standard_normal((5, 384)):
        assert store.search(query, top_k=10) == store.search(query, top_k=2_000)[:10]


def test_zero_vectors_score_zero(store: VectorStore) -> None:
    store.add("zero", [0, 0, 0, 0])
    store.add("against", [-1, 0, 0, 0])
    assert [(hit.id, hit.score) for hit in store.search([1, 0, 0, 0])] == [
        ("zero", 0.0),
        ("against", -1.0),
    ]
    assert [str(hit.score) for hit in store.search([0, 0, 0, 0])] == ["0.0", "0.0"]
    assert [str(hit.score) for hit in store.search([-1, -1, -1, -1])] == ["0.5", "0.0"]


def test_extreme_but_finite_vectors(store: VectorStore) -> None:
    store.add("huge", np.full(4, 3e38))
    store.add("tiny", np.full(4, 1e-45))
    assert [hit.score for hit in store.search([1e-45, 1e-45, 0, 0])] == pytest.approx(
        [0.5**0.5] * 2
    )
    assert store["tiny"].embedding.tolist() == np.full(4, 1e-45, np.float32).tolist()


def test_where_filters_before_it_counts(store: VectorStore) -> None:
    store.add_many(
        [str(i) for i in range(40)],
        np.tile(np.arange(1, 5), (40, 1)),
        [{"n": i} for i in range(40)],
    )
    assert ids(store.search([1, 2, 3, 4], top_k=3, where={"n": {"$gte": 36}})) == ["36", "37", "38"]
    assert len(store.search([-1, 0, 0, 0], top_k=30, where={"n": {"$lt": 25}})) == 25
    assert store.search([1, 0, 0, 0], where={"n": 99}) == []


def test_an_empty_store_answers(store: VectorStore) -> None:
    assert store.search([1, 0, 0, 0], where={"a": 1}) == []
    store.add_many([], [])
    store.add_many([], np.empty((0, 4)))
    assert store.version == 0


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        ([1, 2, 3], r"'x' expects float32 \[4\], got int64 \[3\]"),
        ([[1, 2, 3, 4]], r"got int64 \[1, 4\]: this is a batch, pass one row"),
        ([1, 2, float("nan"), 4], r"'x' has nan at position 2"),
        ([1, float("-inf"), 3, 4], r"'x' has -inf at position 1"),
        ([0, 0, 0, 1e39], r"'x' has 1e\+39 at position 3: every value must be finite in float32"),
        ([1j, 0, 0, 0], r"got complex128 \[4\]: pass real numbers"),
        (np.array(["1", "2", "3", "4"]), r"got <U1 \[4\]"),
        ("abcd", r"got <U4 \[\]"),
        ([True, False, True, True], r"got bool \[4\]"),
        ([object()] * 4, r"got object \[4\]"),
        ([[1], [2, 3]], r"expects float32 \[4\], got list: .*inhomogeneous"),
        (None, "is missing, and the store has no embedder"),
    ],
)
def test_a_wrong_embedding_stores_nothing(store: VectorStore, embedding: Any, message: str) -> None:
    with pytest.raises(VectorInputError, match=message):
        store.add("x", embedding)
    with pytest.raises(VectorInputError, match=message):
        store.add_many(["good", "x"], None if embedding is None else [[1, 2, 3, 4], embedding])
    if (
        embedding is not None and np.ndim(np.array(embedding, object)) != 2
    ):  # a batch of queries is none of these types
        with pytest.raises(VectorInputError):
            store.search(embedding)
    assert len(store) == store.version == 0


def test_a_wrong_row_of_a_matrix_is_named(store: VectorStore) -> None:
    matrix = np.ones((3, 4))
    matrix[1, 2] = np.nan
    with pytest.raises(
        VectorInputError, match=r"store 'handbook': the embedding of 'b' has nan at position 2"
    ):
        store.add_many(list("abc"), matrix)
    with pytest.raises(
        VectorInputError, match=r"expected float32 \[2, 4\] for 2 ids, got float64 \[3, 4\]"
    ):
        store.add_many(list("ab"), matrix)
    assert len(store) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": ["a", "a"]}, "ids hold 'a' twice"),
        ({"ids": "ab"}, "must be a list of text, got 'ab'"),
        ({"ids": ["a", 2]}, "each of store 'handbook': ids must be text, got 2"),
        ({"ids": ["a", "\ud800"]}, "lone surrogate at position 0"),
        ({"contents": ["a", "b\udfff"]}, "content of 'b' holds a lone surrogate at position 1"),
        ({"contents": ["a", b"b"]}, "content of 'b' must be text, got b'b'"),
        ({"contents": ["a"]}, "contents: expected one per id, 2 for 2 ids, got 1"),
        ({"metadatas": [{}, {}, {}]}, "metadatas: expected one per id, 2 for 2 ids, got 3"),
        ({"metadatas": [{}, [1]]}, r"metadata of 'b' must be a dict, got \[1\]"),
        (
            {"metadatas": [{}, {1: 2}]},
            "a key of store 'handbook': metadata of 'b' must be text, got 1",
        ),
        (
            {"metadatas": [{}, {"a": [{"b": {3, 4}}]}]},
            r"metadata of 'b'\['a'\]\[0\]\['b'\] is a set",
        ),
        ({"metadatas": [{}, {"n": np.int64(3)}]}, r"\['n'\] is a int64.*\.item\(\)"),
        ({"metadatas": [{}, {"n": float("nan")}]}, r"\['n'\] is nan, which JSON cannot represent"),
        ({"metadatas": [{}, {"n": "\udc00"}]}, r"\['n'\] holds a lone surrogate"),
    ],
)
def test_a_wrong_batch_stores_nothing(
    store: VectorStore, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(VectorInputError, match=message):
        store.add_many(**{"ids": ["a", "b"], "embeddings": np.eye(4)[:2], **arguments})
    assert len(store) == store.version == 0


def test_endless_metadata_is_refused(store: VectorStore) -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(VectorInputError, match="more than 64 levels deep"):
        store.add("x", [1, 0, 0, 0], loop)


@pytest.mark.parametrize("top_k", [0, -1, 10_001, True, 2.0, "3", None])
def test_a_wrong_top_k(store: VectorStore, top_k: Any) -> None:
    with pytest.raises(VectorInputError, match="top_k is a whole number from 1 to 10000, got"):
        store.search([1, 0, 0, 0], top_k=top_k)


def test_metadata_is_kept_as_json_gives_it_back(store: VectorStore) -> None:
    given: dict[str, Any] = {
        "i": 2**70,
        "f": 1.0,
        "t": True,
        "n": None,
        "l": (1, ["é\0"]),
        "d": {"": {}},
        "np": np.float64(0.5),
    }
    store.add("x", [1, 0, 0, 0], given, "a\0b")
    kept = store["x"].metadata
    assert kept == {**given, "l": [1, ["é\0"]]}
    assert kept["t"] is True
    assert type(kept["f"]) is type(kept["np"]) is float
    hit = store.search([1, 0, 0, 0])[0]
    assert (hit.metadata, hit.content) == (kept, "a\0b")
    hit.metadata["d"]["changed"] = 1
    assert store.search([1, 0, 0, 0])[0].metadata == kept


def test_what_was_given_may_change_afterwards(store: VectorStore) -> None:
    vector, metadata = np.ones(4, np.float32), {"tags": ["a"]}
    store.add("x", vector, metadata)
    vector[:], metadata["tags"][0] = np.nan, "b"
    assert store["x"].embedding.tolist() == [1, 1, 1, 1]
    assert len(store.search([1, 1, 1, 1], where={"tags": ["a"]})) == 1


def test_text_is_embedded() -> None:
    store = VectorStore(embedder=Letters())
    assert store.dimension == 4
    store.add("a", content="aab")
    store.add_many(["b", "c"], metadatas=[{"content": "bbb"}, {"content": "cd"}])
    assert ids(store.search("b", top_k=1)) == ["b"]
    assert store["a"].embedding.tolist() == [2, 1, 0, 0]
    with pytest.raises(
        VectorInputError, match="embedding of 'x' is missing, and the entry has no content"
    ):
        store.add("x")
    assert repr(store).endswith("in memory · embedder letters")


def test_text_needs_an_embedder(store: VectorStore) -> None:
    with pytest.raises(VectorInputError, match=r"the query is text, and the store has no embedder"):
        store.search("kettle")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimension": 0}, "at least 1, got 0"),
        ({"dimension": True}, "at least 1, got True"),
        (
            {"dimension": 8, "embedder": Letters()},
            "the embedder has dimension 4, got dimension=8",
        ),
        ({"metric": "l1"}, "metric is one of cosine, dot, l2, manhattan, got 'l1'"),
    ],
)
def test_a_wrong_store(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(VectorInputError, match=message):
        VectorStore(**arguments)


def test_version_grows_with_every_change(store: VectorStore) -> None:
    versions = [store.version]
    for change in (
        lambda: store.add("a", [1, 0, 0, 0]),
        lambda: store.add("a", [1, 0, 0, 0]),
        lambda: store.add_many(["b", "c"], np.ones((2, 4))),
        lambda: store.delete("a"),
    ):
        change()
        versions.append(store.version)
    assert versions == [0, 1, 2, 3, 4]
    store.delete("a")
    store.search([1, 0, 0, 0])
    assert store.version == 4


def test_a_closed_store_says_so(store: VectorStore) -> None:
    store.add("a", [1, 0, 0, 0])
    store.close()
    store.close()
    for use in (
        lambda: store.search([1, 0, 0, 0]),
        lambda: store.add("b", [1, 0, 0, 0]),
        lambda: len(store),
    ):
        with pytest.raises(StoreError, match="store 'handbook' is closed"):
            use()
    assert "closed" in repr(store)


def test_spans(store: VectorStore) -> None:
    with recorder.record("call") as recorded:
        store.add("a", [1, 0, 0, 0])
        hits = store.search([1, 0, 0, 0])
        store.get("a")
        store.delete("a")
    spans = list(recorded)[1:]
    assert [(span.name, span.kind) for span in spans] == [
        ("handbook", "write"),
        ("handbook", "search"),
        ("handbook", "search"),
        ("handbook", "write"),
    ]
    assert all(span.target is store for span in spans)
    assert spans[1].output is hits


def test_repr() -> None:
    store = VectorStore(384, name="<b>hand</b>")
    store.add_many([str(i) for i in range(1_000)], np.ones((1_000, 384)))
    assert (
        repr(store)
        == "VectorStore '<b>hand</b>' · 1\u2009000 entries · 384 × float32 · cosine · 1.47 MB "
        "· in memory"
    )
    bundle = store._repr_mimebundle_()
    assert bundle["text/plain"] == repr(store)
    assert "&lt;b&gt;hand" in bundle["text/html"]
    assert "<b>hand" not in bundle["text/html"]


def test_adding_many_counts_the_entries(store: VectorStore, jobs: list[Progress]) -> None:
    store.add_many(["a", "b"], np.eye(4)[:2])
    store.to_pandas()
    assert [(job.name, job.done, job.total) for job in jobs] == [
        ("handbook.add_many", 2, 2),
        ("handbook.to_pandas", 2, 2),
    ]


def test_a_search_with_many_queries_counts_them(
    store: VectorStore, jobs: list[Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_CHUNK_QUERIES", 2)
    store.add_many(["a", "b"], np.eye(4)[:2])
    found = store.search([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]], 1)
    assert [ids(hits) for hits in found] == [["a"], ["b"], ["a"]]
    assert (jobs[-1].name, jobs[-1].done, jobs[-1].total) == ("handbook.search", 3, 3)


def test_a_search_with_one_query_shows_no_progress(
    store: VectorStore, jobs: list[Progress]
) -> None:
    store.search([1, 0, 0, 0])
    assert jobs == []
