"""The path of a search by one embedding: few calls of the package, and the same answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import FrameType

import numpy as np
import pytest

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.store import VectorStore

MAX_CALLS = 70  # each takes about 0.1 us, of a search of 100 us

ROWS = np.random.default_rng(0).standard_normal((3_000, 128)).astype(np.float32)


@pytest.fixture(scope="module")
def store() -> Iterator[VectorStore]:
    with VectorStore(128) as store:
        metadatas = [{"n": i, "of": "row"} if i % 2 else {} for i in range(len(ROWS))]
        store.add_many([str(i) for i in range(len(ROWS))], ROWS, metadatas)
        yield store


def calls(store: VectorStore, query: FloatArray) -> list[str]:
    """Return the functions of the package that a warm search calls."""
    for _ in range(3):
        store.search(query)
    called: list[str] = []

    def record(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "conduit_lab" in frame.f_code.co_filename:
            called.append(frame.f_code.co_qualname)

    sys.setprofile(record)
    try:
        store.search(query)
    finally:
        sys.setprofile(None)
    return called


def test_a_search_makes_few_calls(store: VectorStore) -> None:
    called = calls(store, ROWS[3])
    assert len(called) <= MAX_CALLS, "\n".join(called)


@pytest.mark.parametrize("form", ["list", "float64", "strided", "batch"])
def test_every_form_of_a_query_gives_the_same_hits(store: VectorStore, form: str) -> None:
    wide = np.repeat(ROWS[5], 2)
    queries = {
        "list": ROWS[5].tolist(),
        "float64": ROWS[5].astype(np.float64),
        "strided": wide[::2],
    }
    hits = store.search(ROWS[5], 20)
    found = store.search([ROWS[5]], 20)[0] if form == "batch" else store.search(queries[form], 20)
    assert found == hits
    assert (found.plan, found.best, found.store) == (hits.plan, hits.best, hits.store)
    assert hits.best == hits[0].score


def test_the_metadata_of_a_hit_is_its_own() -> None:
    with VectorStore(2) as store:
        metadata = {"tags": ["x", {"deep": [1]}], "place": {"page": [1]}, "n": 1}
        store.add("a", [1, 0], metadata)
        [hit] = store.search(np.array([1, 0], np.float32))
        hit.metadata["tags"][1]["deep"].append(2)
        hit.metadata["place"]["page"].append(2)
        hit.metadata["n"] = 2
        hit.metadata["new"] = True
        [again] = store.search(np.array([1, 0], np.float32))
        assert again.metadata == metadata


def test_an_empty_metadata_is_its_own() -> None:
    with VectorStore(2) as store:
        store.add_many(["a", "b"], np.eye(2))
        first, second = store.search(np.ones(2, np.float32))
        first.metadata["n"] = 1
        assert second.metadata == {}
        assert store["a"].metadata == store["b"].metadata == {}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite_is_named(store: VectorStore, value: float) -> None:
    query = ROWS[0].copy()
    query[7] = value
    with pytest.raises(ValueError, match=r"the query has .* at position 7"):
        store.search(query)


def test_a_query_of_another_dimension_is_rejected(store: VectorStore) -> None:
    with pytest.raises(VectorInputError, match=r"expects float32 \[128\], .*got float32 \[127\]"):
        store.search(ROWS[0, :127])


class Prompted:
    """An embedder with separate prompts for queries and documents."""

    name = "prompted"
    dimension = 3

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        raise AssertionError("expected a prompt")

    def encode_query(self, texts: Sequence[str]) -> FloatArray:
        return np.array([[1, 0, 0]] * len(texts), np.float32)

    def encode_document(self, texts: Sequence[str]) -> FloatArray:
        return np.array([[0, 1, 0]] * len(texts), np.float32)


def test_queries_and_documents_have_prompts_of_their_own() -> None:
    with VectorStore(embedder=Prompted()) as store:
        store.add_texts(["text"], ids=["a"])
        assert store["a"].embedding.tolist() == [0, 1, 0]
        assert store.search("text")[0].score == 0
