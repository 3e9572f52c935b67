"""Rows and queries of an extreme length: right answers, and the codes stay for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.index.accelerators import INT8_ROWS
from conduit_lab.vectors.index.index import METRICS, Index
from tests.vectors.index.test_index import Snapshot, answers, oracle, random

DIMENSION = 96
CODED = ("cosine", "dot", "l2")


@pytest.fixture
def indexes() -> Iterator[Callable[..., Index]]:
    """Create indexes, with codes if the metric supports them, and close them at the end."""
    made: list[Index] = []

    def make(rows: FloatArray, metric: str) -> Index:
        made.append(Index(rows.shape[1], metric))
        made[-1].append(rows)
        made[-1].wait()
        return made[-1]

    yield make
    for index in made:
        index.close()


def check(index: Index, rows: FloatArray, queries: FloatArray, metric: str) -> None:
    """Compare with the formulas: all rows and some, queries in a batch and separately."""
    some = np.random.default_rng(3).random(len(rows)) < 0.6
    few = np.zeros(len(rows), np.bool_)
    few[[*range(0, len(rows), 100), 3, 4, 5]] = True
    for keep in (None, some, few):
        expected = [oracle(rows, query, metric, keep, 10) for query in queries]
        assert answers(index.search(queries, 10, keep)) == expected
        assert [
            answers(index.search(query[np.newaxis], 10, keep))[0] for query in queries
        ] == expected


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("length", [1e-38, 1e-24, 1e3, 1e9, 1e25, 3e37])
def test_an_odd_row_is_found_where_it_belongs(
    indexes: Callable[..., Index], metric: str, length: float
) -> None:
    rows = random(INT8_ROWS + 100, DIMENSION)
    rows[[3, 5]] = rows[4] * np.float32(length)
    queries = np.stack([rows[4], -rows[4], rows[3], random(DIMENSION, seed=1), rows[4] * 0])
    check(indexes(rows, metric), rows, queries, metric)


@pytest.mark.parametrize("metric", CODED)
@pytest.mark.parametrize("length", [1e-24, 1e6, 1e25])
def test_an_odd_row_leaves_the_codes_to_the_others(
    indexes: Callable[..., Index], metric: str, length: float
) -> None:
    rows = random(INT8_ROWS, DIMENSION)
    index = indexes(rows, metric)
    index.append(rows[:1] * np.float32(length))
    index.replace(np.array([7]), rows[7:8] * np.float32(length))
    plan = index.search(rows[1:2], 5).plan
    assert plan == f"int8 scan of {INT8_ROWS + 1:,} rows and 1 new one"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [1, 3, 50])
def test_many_odd_rows(indexes: Callable[..., Index], metric: str, share: int) -> None:
    rows = random(INT8_ROWS, DIMENSION)
    rows[::share] *= np.float32(1e-20)
    rows[::7] *= np.float32(1e4)
    check(indexes(rows, metric), rows, random(2, DIMENSION, seed=1), metric)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_become_odd_and_usual_again(indexes: Callable[..., Index], metric: str) -> None:
    rows = random(INT8_ROWS, DIMENSION)
    index = indexes(rows, metric)
    queries = random(2, DIMENSION, seed=1)
    for length in (1e-30, 1.0, 1e30, 1e5, 1.0):
        rows[10:20] = random(10, DIMENSION, seed=2) * np.float32(length)
        index.replace(np.arange(10, 20), rows[10:20])
        check(index, rows, queries, metric)
    rows[10:20] *= np.float32(1e20)
    index.replace(np.arange(10, 20), rows[10:20])
    live = np.arange(len(rows)) % 5 != 0
    index.compact(live)
    index.wait()
    check(index, rows[live], queries, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_an_odd_query_takes_the_codes_from_no_other(
    indexes: Callable[..., Index], metric: str
) -> None:
    rows = random(INT8_ROWS, DIMENSION)
    index = indexes(rows, metric)
    queries = random(70, DIMENSION, seed=1)
    alone = [index.search(query[np.newaxis], 5).plan for query in queries]
    queries[[0, 68]] *= np.float32(1e-30)
    queries[9] *= np.float32(1e25)
    answer = index.search(queries, 5)
    kept = [i for i in range(70) if i not in (0, 9, 68)]
    assert [answer.plans[i] for i in kept] == [alone[i] for i in kept]
    assert answers(answer) == [oracle(rows, query, metric, None, 5) for query in queries]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("length", [1e-44, 1e-30, 1e-18, 1e-13, 1e13, 1e30])
def test_a_query_of_any_length_is_answered_right(
    indexes: Callable[..., Index], metric: str, length: float
) -> None:
    rows = random(INT8_ROWS, DIMENSION) * np.float32(1e-3)
    rows[::9] *= np.float32(1e-5)
    rows[5] = 0
    index = indexes(rows, metric)
    queries = random(3, DIMENSION, seed=1) * np.float32(length)
    check(index, rows, queries, metric)
    if metric in ("cosine", "dot") or length < 1:
        assert (
            index.search(queries[0:1], 5).plan
            == index.search(queries[0:1] / np.float32(length), 5).plan
        )


@pytest.mark.parametrize("metric", CODED)
def test_a_snapshot_knows_its_odd_rows(
    indexes: Callable[..., Index], metric: str, tmp_path: Path
) -> None:
    rows = random(INT8_ROWS, DIMENSION)
    rows[[3, 5]] *= np.array([[1e-24], [1e25]], np.float32)
    snapshot = Snapshot(tmp_path, indexes(rows, metric))
    again = Index(DIMENSION, metric, vectors=snapshot.vectors, codes=snapshot.codes)
    assert again.search(rows[:1], 5).plan.startswith("int8 scan")
    check(again, rows, rows[[0, 3]], metric)
    again.close()
