from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from conduit_lab.core.errors import MissingExtra
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.index import accelerators, hnsw
from conduit_lab.vectors.index.accelerators import INT8_ROWS
from conduit_lab.vectors.index.hnsw import HnswGraph
from conduit_lab.vectors.index.index import Index
from conduit_lab.vectors.index.rows import VectorRows
from tests.vectors.index.test_index import answers, oracle, random

pytest.importorskip("faiss")
ROWS = INT8_ROWS + 1_000
DIMENSION = 96


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph is built at the same size as 8-bit codes."""
    monkeypatch.setattr(accelerators, "GRAPH_ROWS", INT8_ROWS)


def clustered(n: int, seed: int = 0) -> FloatArray:
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((50, DIMENSION), np.float32)
    noise = np.float32(0.5) * generator.standard_normal((n, DIMENSION), np.float32)
    return centres[generator.integers(0, 50, n)] + noise


@pytest.fixture
def index() -> Iterator[Index]:
    index = Index(DIMENSION)
    index.append(clustered(ROWS))
    index.wait()
    yield index
    index.close()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_graph_finds_the_neighbours_with_their_true_scores(metric: str) -> None:
    rows, queries = clustered(ROWS), clustered(40, seed=1)
    index = Index(DIMENSION, metric)
    index.append(rows)
    index.wait()
    answer = index.search(queries, 10)
    index.close()
    assert answer.plan == f"HNSW search of {ROWS:,} rows"
    right = 0
    for query, found in zip(queries, answers(answer), strict=True):
        true = oracle(rows, query, metric)
        assert set(found) <= set(true)
        assert found == [pair for pair in true if pair in set(found)]
        right += len(set(found) & set(true[:10]))
    assert right >= 0.97 * 400


def test_rows_added_and_replaced_later_are_found(index: Index) -> None:
    new = random(2, DIMENSION, seed=5)
    index.append(new[:1])
    index.replace(np.array([123]), new[1:])
    answer = index.search(new, 1)
    assert answer.plan == f"HNSW search of {ROWS + 1:,} rows and 2 new ones"
    assert [best[0][0] for best in answers(answer)] == [ROWS, 123]


def test_a_replaced_row_is_not_found_where_it_was(index: Index) -> None:
    old = index.take(np.array([123]))
    index.replace(np.array([123]), -old)
    assert index.search(old, 5).plan.startswith("HNSW")
    assert 123 not in index.search(old, 5).found[0][0]


def test_rows_that_are_masked_out_never_come(index: Index) -> None:
    query = clustered(1, seed=2)
    keep = np.ones(ROWS, bool)
    keep[index.search(query, 4).found[0][0]] = False
    answer = index.search(query, 5, keep)
    assert answer.plan == f"HNSW search of {ROWS - 4:,} of {ROWS:,} rows"
    assert keep[answer.found[0][0]].all()
    assert len(answer.found[0][0]) == 5


def test_a_mask_that_takes_all_the_nearest_rows_is_answered_by_a_scan(index: Index) -> None:
    query = clustered(1, seed=2)
    keep = np.ones(ROWS, bool)
    keep[index.search(query, 60, exact=True).found[0][0]] = False
    answer = index.search(query, 5, keep)
    assert answer.plan == f"int8 scan of {ROWS - 60:,} of {ROWS:,} rows"
    rows = index.take(np.arange(ROWS))
    assert answers(answer) == [oracle(rows, query[0], "cosine", keep)[:5]]


def test_a_mask_of_few_rows_is_answered_by_a_scan(index: Index) -> None:
    keep = np.arange(ROWS) % 3 > 0
    assert index.search(clustered(1), 5, keep).plan.startswith("int8 scan")


def test_many_new_rows_are_linked_while_searches_go_on(index: Index) -> None:
    more = random(3_000, DIMENSION, seed=6)
    for begin in range(0, len(more), 100):
        index.append(more[begin : begin + 100])
        assert index.search(more[begin : begin + 1], 1).found[0][0].tolist() == [ROWS + begin]
    index.wait()
    answer = index.search(more[:1], 1)
    assert "HNSW" in answer.plan
    assert int((answer.plan + " and 0 new").split(" and ")[1].split()[0].replace(",", "")) < 2_048


def test_compact_makes_a_new_graph(index: Index) -> None:
    rows = index.take(np.arange(ROWS))
    live = np.arange(ROWS) % 10 > 0
    index.compact(live)
    query = clustered(1, seed=3)
    expected = [oracle(rows[live], query[0], "cosine")[:5]]
    assert answers(index.search(query, 5)) == expected
    index.wait()
    assert index.search(query, 5).plan == f"HNSW search of {live.sum():,} rows"


def test_a_graph_that_misses_the_stores_own_neighbours_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hnsw, "_EF_SEARCH", (1,))
    rows = random(ROWS, 200)  # random: the nearest rows are hardly nearer than the others
    index = Index(200)
    index.append(rows)
    index.wait()
    assert index.search(rows[:1], 10).plan.startswith("int8 scan")
    assert index.nbytes < ROWS * (
        200 * 4 + 3 * 200
    )  # codes, and twice the codes of an incomplete piece
    index.close()


def test_a_search_does_not_wait_for_rows_that_are_being_linked(index: Index) -> None:
    made = index._accelerators.graph
    assert made is not None
    with made._lock:
        answer = index.search(clustered(1), 5)
    assert answer.plan.startswith("int8 scan")


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hnsw, "available", lambda: False)
    with pytest.raises(MissingExtra, match=r"conduit-lab\[ann\]"):
        HnswGraph(VectorRows(4, "cosine"))


def test_closing_ends_the_build() -> None:
    index = Index(DIMENSION)
    index.append(clustered(ROWS))
    index._accelerators.wait()
    index.search(clustered(1), 1)  # begins the graph
    index.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "conduit-lab index"]
    assert index.search(clustered(1), 1).plan.startswith("int8 scan")
    index.close()
