"""MMR: for every metric and mode, by the store's own scores; at 1 it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.index.index import METRICS
from conduit_lab.vectors.store import VectorStore

COUNT, DIMENSION = 200, 8
WORDS = ("kettle", "handle", "water", "plug")


class Embedder:
    name, dimension = "words", DIMENSION

    def encode(self, texts: Sequence[str]) -> FloatArray:
        return np.stack([np.random.default_rng(len(text)).normal(size=DIMENSION) for text in texts])


class Lengths:
    def score(self, query: str, passages: Sequence[str]) -> Any:
        return [len(passage) % 7 - 20 for passage in passages]


@pytest.fixture(params=METRICS)
def store(request: pytest.FixtureRequest) -> Iterator[VectorStore]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(COUNT, DIMENSION)) * rng.lognormal(0, 1.5, (COUNT, 1))
    rows[50:60] = rows[50]  # ties
    rows[70] = 0
    contents = [" ".join(rng.choice(WORDS, 1 + i % 5)) for i in range(COUNT)]
    with VectorStore(metric=request.param, embedder=Embedder()) as store:
        store.add_many(
            [str(i) for i in range(COUNT)], rows, [{"n": i % 3} for i in range(COUNT)], contents
        )
        yield store


def ids(hits: Any) -> list[str]:
    return [hit.id for hit in hits]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"mode": "lexical"},
        {"mode": "hybrid"},
        {"mode": "hybrid", "fusion": "rank"},
        {"rerank": Lengths()},
        {"mode": "hybrid", "rerank": Lengths()},
        {"where": {"n": 1}},
    ],
    ids=lambda how: "-".join(how) or "plain",
)
@pytest.mark.parametrize("top_k", [5, 70])
def test_at_1_it_changes_nothing(store: VectorStore, how: dict[str, Any], top_k: int) -> None:
    queries = ["kettle", "water of a kettle", "plug"]
    plain = store.search(queries, top_k, **how)
    varied = store.search(queries, top_k, mmr=1, **how)
    assert [ids(hits) for hits in varied] == [ids(hits) for hits in plain]
    assert [[hit.score for hit in hits] for hits in varied] == [
        [hit.score for hit in hits] for hits in plain
    ]


def test_at_1_the_order_of_embeddings_stays(store: VectorStore) -> None:
    entry = store["50"].embedding
    for query in (entry, entry * 1e-20, -entry, entry * 0):
        assert ids(store.search(query, 30, mmr=1.0)) == ids(store.search(query, 30))


@pytest.mark.parametrize("metric", METRICS)
def test_a_repetition_gives_way_for_every_metric(metric: str) -> None:
    with VectorStore(2, metric) as store:
        store.add_many(
            ["twin", "best", "other", "far"], np.array([[2, 0], [2.1, 0], [0.5, 1.5], [1, -4]])
        )
        plain, varied = (ids(store.search([2.1, 0.9], 2, mmr=mmr)) for mmr in (None, 0.6))
        assert set(plain) == {"twin", "best"}
        assert varied == [plain[0], "other"]


def test_the_balance_may_be_any_real_number(store: VectorStore) -> None:
    balance: Any = np.float32(1)
    assert ids(store.search("kettle", mmr=balance)) == ids(store.search("kettle"))


def test_every_query_of_a_batch_has_its_own_plan() -> None:
    rng = np.random.default_rng(0)
    with VectorStore(96, "l2") as store:
        store.add_many([str(i) for i in range(5_000)], rng.normal(size=(5_000, 96)))
        store.search(rng.normal(size=96))
        store._backend._rows.index.wait()  # type: ignore[union-attr]
        queries = rng.normal(size=(130, 96)).astype(np.float32)
        queries[[1, 129]] *= np.float32(1e20)
        alone = [store.search(query, 3).plan for query in queries]
        assert [hits.plan for hits in store.search(list(queries), 3)] == alone
        assert len(set(alone)) == 2


def test_a_query_without_hits_was_not_reranked() -> None:
    with VectorStore(embedder=Embedder()) as store:
        store.add("a", content="kettle")
        some, none = store.search(["kettle", "zebra"], mode="lexical", rerank=Lengths())
        assert (some.plan, none.plan) == ("words, 1 reranked", "words")
