"""A reranker returns one finite score per passage; anything else is a clear error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import ConduitError, ModelRunError, Overloaded, VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.evaluate import evaluate
from conduit_lab.vectors.store import VectorStore

COUNT = 60


class Lengths:
    name, dimension = "lengths", 2

    def encode(self, texts: Sequence[str]) -> FloatArray:
        return np.array([[1, len(text)] for text in texts], np.float32)


class Reranker:
    def __init__(self, answer: Callable[[int], Any]) -> None:
        self._answer = answer

    def score(self, query: str, passages: Sequence[str]) -> Any:
        return self._answer(len(passages))


@pytest.fixture(scope="module")
def store() -> Iterator[VectorStore]:
    with VectorStore(embedder=Lengths()) as store:
        ids = [str(i) for i in range(COUNT)]
        contents = [f"text {i} {'x' * i}" for i in range(COUNT)]
        store.add_many(ids, None, [{"page": id} for id in ids], contents)
        yield store


TAKEN: dict[str, Callable[[int], Any]] = {
    "an array": lambda n: np.arange(n, dtype=np.float32),
    "a column": lambda n: np.arange(n, dtype=np.float64)[:, np.newaxis],
    "half precision": lambda n: np.arange(n, dtype=np.float16),
    "integers": lambda n: np.arange(n),
    "a list": lambda n: [float(i) for i in range(n)],
    "a list of rows": lambda n: [[i] for i in range(n)],
    "a tuple": lambda n: tuple(range(n)),
}


@pytest.mark.parametrize("answer", TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
@pytest.mark.parametrize("top_k", [10, 60])
def test_one_number_per_passage_orders_the_hits(
    store: VectorStore, answer: Callable[[int], Any], mode: Any, top_k: int
) -> None:
    before = store.search("text", max(50, top_k), mode=mode)
    hits = store.search("text", top_k, mode=mode, rerank=Reranker(answer))
    expected = [hit.id for hit in before[:50][::-1]] + [hit.id for hit in before[50:]]
    assert [hit.id for hit in hits] == expected[:top_k]
    assert [hit.score for hit in hits[:3]] == [49.0, 48.0, 47.0]


REFUSED: dict[str, tuple[Callable[[int], Any], str]] = {
    "fewer": (lambda n: np.zeros(3), r"returned float64 \[3\], expected one number per passage"),
    "more": (lambda n: np.zeros(n + 1), r"float64 \[51\]"),
    "none": (lambda n: [], r"float64 \[0\]"),
    "two classes": (lambda n: np.zeros((n, 2)), r"float64 \[50, 2\]"),
    "a row": (lambda n: np.zeros((1, n)), r"float64 \[1, 50\]"),
    "one for all": (lambda n: 0.5, r"float64 \[\]"),
    "text": (lambda n: ["0.5"] * n, "returned"),
    "booleans": (lambda n: np.ones(n, bool), "returned bool"),
    "complex": (lambda n: np.ones(n, complex), "returned complex128"),
    "objects": (lambda n: [Decimal(1)] * n, "returned list"),
    "None in it": (lambda n: [None] * n, "returned list"),
    "nothing": (lambda n: None, "returned NoneType"),
    "a generator": (lambda n: (float(i) for i in range(n)), "returned generator"),
    "ragged": (lambda n: [[1], [1, 2]] * (n // 2), "failed on 50 passages"),
    "NaN": (lambda n: np.full(n, np.nan), "returned nan for passage 0 of 50, expected finite"),
    "one NaN": (lambda n: [0.0] * (n - 1) + [np.nan], "returned nan for passage 49 of 50"),
    "infinity": (lambda n: [np.inf] + [0.0] * (n - 1), "returned inf for passage 0"),
    "its own error": (lambda n: 1 / 0, "failed on 50 passages: ZeroDivisionError"),
}


@pytest.mark.parametrize(("answer", "says"), REFUSED.values(), ids=REFUSED)
def test_any_other_answer_is_an_error_that_names_the_reranker(
    store: VectorStore, answer: Callable[[int], Any], says: str
) -> None:
    with pytest.raises(ModelRunError, match=f"^reranker 'Reranker' .*{says}"):
        store.search("text", 10, rerank=Reranker(answer))


def test_an_error_of_the_package_stays_what_it_is(store: VectorStore) -> None:
    def busy(count: int) -> Any:
        raise Overloaded("the queue is full")

    with pytest.raises(Overloaded, match="the queue is full"):
        store.search("text", 10, rerank=Reranker(busy))


def test_an_evaluation_says_it_too(store: VectorStore) -> None:
    questions = [{"question": "text 3", "pages": "3"}]
    modes = {"reranked": {"rerank": Reranker(lambda n: np.zeros(n - 1))}}
    with pytest.raises(ConduitError, match=r"expected one number per passage, float \[50\]"):
        evaluate(store, questions, modes=modes, by="page")


@pytest.mark.parametrize("reranker", [5, "cross-encoder", len, np.zeros(3)])
def test_a_reranker_has_a_method_that_scores(store: VectorStore, reranker: Any) -> None:
    with pytest.raises(
        VectorInputError, match=r"rerank expects a model with score\(query, passages\)"
    ):
        store.search("text", rerank=reranker)


def test_several_queries_are_reranked_each_by_itself(store: VectorStore) -> None:
    class First:
        def score(self, query: str, passages: Sequence[str]) -> Any:
            return [[float(passage == query)] for passage in passages]

    queries = ["text 3 xxx", "text 1 x"]
    found = store.search(queries, 2, rerank=First())
    assert [hits[0].content for hits in found] == queries
    assert found == [store.search(query, 2, rerank=First()) for query in queries]


def test_equal_scores_keep_the_order_of_the_search(store: VectorStore) -> None:
    before = store.search("text", 50)
    hits = store.search("text", 50, rerank=Reranker(lambda n: np.zeros(n)))
    assert [hit.id for hit in hits] == [hit.id for hit in before]
