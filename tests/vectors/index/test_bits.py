from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.index import accelerators
from conduit_lab.vectors.index.accelerators import INT8_ROWS
from conduit_lab.vectors.index.index import Index
from tests.vectors.index.test_index import answers, oracle, random

ROWS = 20_000
DIMENSION = 260  # not a whole number of words


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """1-bit codes start at the same size as 8-bit codes, for any dimension."""
    monkeypatch.setattr(accelerators, "_MIN_DIMENSIONS", 1)
    monkeypatch.setattr(accelerators, "BITS_ROWS", INT8_ROWS)


def clustered(n: int, seed: int = 0) -> FloatArray:
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((200, DIMENSION), np.float32)
    return centres[generator.integers(0, 200, n)] + np.float32(0.6) * generator.standard_normal(
        (n, DIMENSION), np.float32
    )


@pytest.fixture(scope="module")
def rows() -> FloatArray:
    return clustered(ROWS)


@pytest.fixture
def index(rows: FloatArray, soon: None) -> Iterator[Index]:
    index = Index(DIMENSION)
    index.append(rows)
    index.wait()
    yield index
    index.close()


def recall(index: Index, rows: FloatArray, queries: FloatArray, metric: str = "cosine") -> float:
    found = answers(index.search(queries, 10))
    true = [{row for row, _ in oracle(rows, query, metric)[:10]} for query in queries]
    return float(
        np.mean([len(true[i] & {row for row, _ in found[i]}) / 10 for i in range(len(queries))])
    )


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_one_bit_a_dimension_finds_the_neighbours(rows: FloatArray, metric: str) -> None:
    index = Index(DIMENSION, metric)
    index.append(rows)
    index.wait()
    queries = clustered(30, seed=1)
    assert index.search(queries, 10).plan.startswith(f"1-bit scan of {ROWS:,} rows, ")
    assert recall(index, rows, queries, metric) >= 0.99
    index.close()


def test_scores_and_order_are_those_of_the_formulas(index: Index, rows: FloatArray) -> None:
    query = rows[17:18]
    scores = dict(oracle(rows, query[0], "cosine"))
    found = answers(index.search(query, 10))[0]
    assert found[0] == (17, 1.0)
    assert all(scores[row] == score for row, score in found)
    assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))


def test_codes_take_a_few_bytes_a_row(index: Index) -> None:
    assert index.nbytes == ROWS * (DIMENSION * 4 + 4 + 5 * 8 + 8)


@pytest.mark.parametrize("kept", [3, 400, 3_000, 20_000])
def test_a_mask_gives_never_fewer_than_it_keeps(index: Index, rows: FloatArray, kept: int) -> None:
    keep = np.zeros(ROWS, bool)
    keep[np.random.default_rng(0).permutation(ROWS)[:kept]] = True
    for query in clustered(5, seed=1):
        found = index.search(query[np.newaxis], 10, keep).found[0][0]
        assert len(found) == min(10, kept)
        assert keep[found].all()
        true = [row for row, _ in oracle(rows, query, "cosine", keep)[:10]]
        assert len(set(true) & set(found.tolist())) >= min(10, kept) - 1


def test_added_and_replaced_rows_are_found_at_once(index: Index) -> None:
    new = clustered(2, seed=5)
    index.append(new[:1])
    index.replace(np.array([123]), new[1:])
    answer = index.search(new, 1)
    assert "and 1 new one" in answer.plan
    assert [best[0][0] for best in answers(answer)] == [ROWS, 123]


def test_compact_keeps_the_codes(index: Index, rows: FloatArray) -> None:
    live = np.arange(ROWS) % 3 > 0
    index.compact(live)
    queries = clustered(20, seed=1)
    assert index.search(queries, 10).plan.startswith("1-bit")
    assert recall(index, rows[live], queries) >= 0.99


def test_rows_that_bits_cannot_tell_apart_stay_with_the_8_bit_codes() -> None:
    rows = random(ROWS, 24)  # 24 signs for 20,000 random rows
    index = Index(24)
    index.append(rows)
    index.wait()
    query = random(1, 24, seed=1)
    answer = index.search(query, 10)
    assert answer.plan.startswith("int8 scan")
    assert answers(answer) == [oracle(rows, query[0], "cosine")[:10]]
    index.close()


def test_a_snapshot_keeps_the_codes_and_the_margin(index: Index, rows: FloatArray) -> None:
    again = Index(DIMENSION, vectors=rows, codes=index.codes())
    queries = clustered(3, seed=1)
    one, two = again.search(queries, 10), index.search(queries, 10)
    assert one.plan == two.plan
    assert answers(one) == answers(two)
    again.append(queries)
    assert [best[0][0] for best in answers(again.search(queries, 1))] == [ROWS, ROWS + 1, ROWS + 2]
    again.close()
