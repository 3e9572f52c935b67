from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.index import accelerators
from conduit_lab.vectors.index import index as index_module
from conduit_lab.vectors.index.accelerators import INT8_ROWS
from conduit_lab.vectors.index.codes import Int8Codes
from conduit_lab.vectors.index.index import Index
from conduit_lab.vectors.index.principal_axes import PrincipalAxes
from conduit_lab.vectors.index.rows import VectorRows
from conduit_lab.vectors.index.scoring import Queries
from tests.vectors.index.test_index import answers, oracle, random

LINEAR = ("cosine", "dot", "l2")
VALUES = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0, -127.0, 0.001])


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few dimensions are coded too."""
    monkeypatch.setattr(accelerators, "_MIN_DIMENSIONS", 1)


@pytest.fixture
def indexes() -> Iterator[Callable[..., Index]]:
    """Make indexes that are closed at the end."""
    made: list[Index] = []

    def make(rows: FloatArray, metric: str = "cosine", wait: bool = True) -> Index:
        index = Index(rows.shape[1], metric)
        made.append(index)
        index.append(rows)
        if wait:
            index.wait()
        return index

    yield make
    for index in made:
        index.close()


@pytest.mark.parametrize("metric", LINEAR)
@settings(deadline=None)
@given(data=st.data())
def test_no_rank_is_above_its_bound_whatever_the_data(metric: str, data: st.DataObject) -> None:
    n, dimension = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 70))
    given = data.draw(hnp.arrays(np.float32, (n, dimension), elements=VALUES, fill=VALUES))
    asked = data.draw(
        hnp.arrays(
            np.float32, (data.draw(st.integers(1, 3)), dimension), elements=VALUES, fill=VALUES
        )
    )
    rows, queries = VectorRows(dimension, metric), Queries(asked, metric)
    rows.append(given)
    if len(rows.outliers) or queries.outliers is not None:
        return
    count = data.draw(st.integers(0, dimension - 1))
    axes = np.linalg.qr(np.random.default_rng(count).standard_normal((dimension, dimension)))[0][
        :count
    ]
    int8 = Int8Codes(rows, {"axes": PrincipalAxes.of(axes).rotated} if count else None)
    int8.extend(n, threading.Event())
    bound = int8.bound(queries)
    every = bound.above(slice(0, n), np.full(len(asked), -np.inf))
    assert sorted(zip(every.query.tolist(), every.row.tolist(), strict=True)) == list(
        np.ndindex(len(asked), n)
    )
    scores = rows.scores(every.row, queries, every.query)
    ranks = queries.ranks(scores, every.query)
    if metric == "l2":  # minus float64 rounding
        ranks -= 2.0**-50 * (np.square(queries.lengths[every.query]) + np.square(scores))
    assert (every.bound >= ranks).all()
    short = bound.looseness(slice(0, n))
    if short is not None:  # nor far below it
        value = bound.values(slice(0, n))[every.query, every.row].astype(np.float64)
        assert (queries.ranks(scores, every.query) >= value - short[every.query]).all()
    for row in range(n):  # no row is lost if its own rank is the threshold
        least = np.full(len(asked), -np.inf)
        least[every.query[every.row == row]] = ranks[every.row == row]
        assert np.count_nonzero(bound.above(slice(0, n), least).row == row) == len(asked)


@pytest.mark.parametrize("metric", LINEAR)
@pytest.mark.parametrize(
    "shape", ["plain", "long and short", "far from the origin", "one great value"]
)
def test_codes_answer_as_the_formulas_do(
    indexes: Callable[..., Index], metric: str, shape: str
) -> None:
    rows, queries = random(INT8_ROWS + 700, 48), random(6, 48, seed=1)
    if shape == "long and short":
        rows *= np.exp(2 * random(len(rows), 1, seed=2))
    elif shape == "far from the origin":
        rows += 20
        queries += 20
    elif shape == "one great value":
        rows[:, 0] = 1_000
    queries[0] = rows[5]
    rows[::500] = rows[5]
    index = indexes(rows, metric)
    for share in (1.0, 0.5, 0.15):
        keep = None if share == 1.0 else np.random.default_rng(3).random(len(rows)) < share
        expected = [oracle(rows, query, metric, keep)[:10] for query in queries]
        assert answers(index.search(queries, 10, keep)) == expected
        assert [
            answers(index.search(query[np.newaxis], 10, keep))[0] for query in queries
        ] == expected


def test_codes_that_leave_too_many_rows_to_score_are_not_used(
    indexes: Callable[..., Index],
) -> None:
    rows = random(INT8_ROWS, 48)
    assert indexes(rows).search(rows[:1], 5).plan == f"int8 scan of {INT8_ROWS:,} rows"
    rows[:, 0] = 10_000  # the others are less than one step of 8 bits
    assert indexes(rows).search(rows[:1], 5).plan == f"exact scan of {INT8_ROWS:,} rows"


def test_exact_scans_float32(indexes: Callable[..., Index]) -> None:
    rows = random(INT8_ROWS, 48)
    index = indexes(rows)
    found, plans = index.search(rows[:2], 5, exact=True)
    assert plans == [f"exact scan of {INT8_ROWS:,} rows"] * 2
    assert found[1][0].tolist() == index.search(rows[:2], 5).found[1][0].tolist()


def test_manhattan_has_no_codes(indexes: Callable[..., Index]) -> None:
    index = indexes(random(INT8_ROWS, 16), "manhattan")
    assert index.search(random(1, 16), 3).plan == f"exact scan of {INT8_ROWS:,} rows"


def test_rows_added_later_are_found_before_they_have_codes(indexes: Callable[..., Index]) -> None:
    rows, more = random(INT8_ROWS, 48), random(10, 48, seed=1)
    index = indexes(rows)
    index.append(more)
    answer = index.search(more, 1)
    assert answer.plan == f"int8 scan of {INT8_ROWS + 10:,} rows and 10 new ones"
    assert [row for best in answers(answer) for row, _ in best] == list(
        range(INT8_ROWS, INT8_ROWS + 10)
    )


def test_rows_added_one_by_one_get_codes_by_and_by(indexes: Callable[..., Index]) -> None:
    rows = random(INT8_ROWS + 1_000, 24)
    index = indexes(rows[:INT8_ROWS])
    for row in rows[INT8_ROWS:]:
        index.append(row[np.newaxis])
    index.wait()
    assert index.nbytes > len(rows) * (24 * 4 + 4) + (INT8_ROWS + 700) * (24 + 4)
    query = random(1, 24, seed=1)
    assert answers(index.search(query, 10)) == [oracle(rows, query[0], "cosine")[:10]]


def test_replaced_and_compacted_rows_keep_right_codes(indexes: Callable[..., Index]) -> None:
    rows = random(INT8_ROWS + 3_000, 24)
    index = indexes(rows)
    at = np.array([7, 4_000, len(rows) - 1])
    rows[at] = random(3, 24, seed=1)
    index.replace(at, rows[at])
    assert [best[0][0] for best in answers(index.search(rows[at], 1))] == at.tolist()
    live = np.random.default_rng(0).random(len(rows)) < 0.9
    index.compact(live)
    query = random(1, 24, seed=2)
    expected = [oracle(rows[live], query[0], "cosine")[:10]]
    assert answers(index.search(query, 10)) == expected
    index.wait()
    answer = index.search(query, 10)
    assert answer.plan.startswith("int8 scan")
    assert answers(answer) == expected


def test_pieces_with_many_replaced_rows_are_coded_anew(indexes: Callable[..., Index]) -> None:
    rows = random(INT8_ROWS + 900, 24)
    index = indexes(rows)
    for seed in range(1, 8):
        at = np.unique(np.random.default_rng(seed).integers(0, len(rows), 200))
        rows[at] = random(len(at), 24, seed=seed)
        index.replace(at, rows[at])
        query = rows[at[:1]] + random(1, 24, seed=9)
        answer = index.search(query, 10)
        assert answer.plan.startswith("int8 scan")
        assert answers(answer) == [oracle(rows, query[0], "cosine")[:10]]


class Held:
    """A build that pauses in the middle until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        extend = Int8Codes.extend

        def held(int8: Int8Codes, end: int, stop: threading.Event) -> None:
            extend(int8, end, stop)
            self.begun.set()
            while not self.go.wait(0.01) and not stop.is_set():
                pass

        monkeypatch.setattr(Int8Codes, "extend", held)


def test_what_changes_during_a_build_is_right_then_and_after(
    indexes: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    rows = random(INT8_ROWS, 24)
    index = indexes(rows, wait=False)
    assert held.begun.wait(10)
    rows = np.concatenate([rows, random(5, 24, seed=1)])
    index.append(rows[-5:])
    rows[9] = random(1, 24, seed=2)[0]
    index.replace(np.array([9]), rows[9:10])
    asked = rows[[9, -1]]
    expected = [oracle(rows, query, "cosine")[:5] for query in asked]
    assert answers(index.search(asked, 5)) == expected
    held.go.set()
    index.wait()
    answer = index.search(asked, 5)
    assert answer.plan.startswith("int8 scan")
    assert answers(answer) == expected


def test_compact_during_a_build_begins_again(
    indexes: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    rows = random(INT8_ROWS + 1_000, 24)
    index = indexes(rows, wait=False)
    assert held.begun.wait(10)
    live = np.arange(len(rows)) % 7 > 0
    index.compact(live)
    held.go.set()
    index.wait()
    answer = index.search(rows[1:2], 5)
    assert answer.plan.startswith("int8 scan")
    assert answers(answer) == [oracle(rows[live], rows[1], "cosine")[:5]]


@pytest.mark.parametrize("end", ["close", "drop"])
def test_no_thread_outlives_the_index(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    held = Held(monkeypatch)
    index = Index(24)
    index.append(random(INT8_ROWS, 24))
    assert held.begun.wait(10)
    threads = [thread for thread in threading.enumerate() if thread.name == "conduit-lab index"]
    if end == "close":
        index.close()
    del index
    gc.collect()
    for thread in threads:
        thread.join(10)
    assert threads
    assert not any(thread.is_alive() for thread in threads)


def test_a_build_that_fails_is_told_once_and_searches_do_without(
    indexes: Callable[..., Index], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(int8: Int8Codes, end: int, stop: threading.Event) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Int8Codes, "extend", broken)
    rows = random(INT8_ROWS, 24)
    with caplog.at_level(logging.ERROR):
        index = indexes(rows)
        index.append(rows[:500])
        index.wait()
    assert [record.getMessage() for record in caplog.records] == [
        f"building Int8Codes for {INT8_ROWS} rows failed: searches continue without it"
    ]
    assert answers(index.search(rows[3:4], 1))[0][0][0] == 3


def test_codes_of_a_snapshot_are_used_as_they_are(
    indexes: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random(INT8_ROWS + 50, 24)
    index = indexes(rows)
    saved = index.codes()
    assert all(isinstance(array, np.ndarray) for array in saved.values())

    def unwanted(int8: Int8Codes, end: int, stop: threading.Event) -> None:
        raise AssertionError("codes were made again")

    monkeypatch.setattr(Int8Codes, "extend", unwanted)
    again = Index(24, vectors=rows, codes=saved)
    answer = again.search(rows[:3], 5)
    assert answer.plan == f"int8 scan of {len(rows):,} rows"
    assert answers(answer) == answers(index.search(rows[:3], 5))
    again.close()


def test_the_thresholds_are_in_order() -> None:
    assert INT8_ROWS < accelerators.BITS_ROWS < accelerators.GRAPH_ROWS


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_changes_in_any_order_leave_right_answers(
    monkeypatch: pytest.MonkeyPatch, metric: str, data: st.DataObject
) -> None:
    monkeypatch.setattr(accelerators, "INT8_ROWS", 8)
    monkeypatch.setattr(accelerators, "_MAX_UNCODED_ROWS", 4)
    monkeypatch.setattr(index_module, "_EXACT_ROWS", 0)
    generator = np.random.default_rng(data.draw(st.integers(0, 1_000)))
    index, rows = Index(3, metric), np.zeros((0, 3), np.float32)
    try:
        for _ in range(data.draw(st.integers(1, 12))):
            step = data.draw(
                st.sampled_from(["append", "append", "replace", "compact", "wait", "search"])
            )
            if step == "append":
                more = generator.integers(-3, 4, (data.draw(st.integers(1, 20)), 3)).astype(
                    np.float32
                )
                index.append(more)
                rows = np.concatenate([rows, more])
            elif step == "replace" and len(rows):
                at = np.unique(generator.integers(0, len(rows), 3))
                rows[at] = generator.standard_normal((len(at), 3), np.float32)
                index.replace(at, rows[at])
            elif step == "compact":
                live = generator.random(len(rows)) < 0.8
                index.compact(live)
                rows = rows[live]
            elif step == "wait":
                index.wait()
            queries = generator.standard_normal((data.draw(st.integers(1, 3)), 3), np.float32)
            keep = data.draw(st.sampled_from([None, generator.random(len(rows)) < 0.5]))
            expected = [oracle(rows, query, metric, keep)[:4] for query in queries]
            assert answers(index.search(queries, 4, keep)) == expected
            assert index.take(np.arange(len(rows))).tobytes() == rows.tobytes()
    finally:
        index.close()
