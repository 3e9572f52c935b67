from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conduit_lab.core.progress import Progress
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.index.blocks import BLOCK_ROWS
from conduit_lab.vectors.index.index import METRICS, Index, IndexResult

MAXIMUM = float(np.finfo(np.float32).max)
FLOATS = st.floats(-MAXIMUM, MAXIMUM, width=32, allow_nan=False) | st.sampled_from(
    [0.0, 1.0, -1.0, 1e-45, 1e-20]
)


def oracle(
    rows: FloatArray,
    query: FloatArray,
    metric: str,
    keep: npt.NDArray[np.bool_] | None = None,
    top_k: int | None = None,
) -> list[tuple[int, float]]:
    """Return the rows that are kept with their scores, best first, as the formulas are written."""
    x, q = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        key = score = np.sqrt(((x - q) * (x - q)).sum(axis=1))
    elif metric == "manhattan":
        key = score = np.abs(x - q).sum(axis=1)
    else:
        score = (x * q).sum(axis=1)
        if metric == "cosine":
            lengths = np.sqrt((x * x).sum(axis=1)) * np.sqrt((q * q).sum())
            score = np.clip(
                np.divide(score, lengths, out=np.zeros_like(score), where=lengths > 0), -1, 1
            )
        key = -score
    order = np.lexsort((np.arange(len(x)), key))
    order = order if keep is None else order[keep[order]]
    return [(int(at), float(score[at])) for at in order[:top_k]]


def answers(answer: IndexResult) -> list[list[tuple[int, float]]]:
    return [list(zip(rows.tolist(), scores.tolist(), strict=True)) for rows, scores in answer.found]


def filled(rows: FloatArray, metric: str = "cosine") -> Index:
    index = Index(rows.shape[1], metric)
    index.append(rows)
    return index


def random(*shape: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("metric", METRICS)
@settings(deadline=None)
@given(data=st.data())
def test_a_search_answers_as_the_formulas_do_for_any_floats(
    metric: str, data: st.DataObject
) -> None:
    n, dimension = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    values = data.draw(st.sampled_from([FLOATS, st.sampled_from([-1.0, 0.0, 1.0, 2.0])]))
    rows = data.draw(hnp.arrays(np.float32, (n, dimension), elements=values))
    queries = data.draw(
        hnp.arrays(np.float32, (data.draw(st.integers(1, 3)), dimension), elements=values)
    )
    keep = data.draw(st.none() | hnp.arrays(np.bool_, n))
    top_k = data.draw(st.integers(1, n + 2))
    found = answers(filled(rows, metric).search(queries, top_k, keep))
    assert found == [oracle(rows, query, metric, keep)[:top_k] for query in queries]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [1.0, 0.6, 0.01])
def test_a_search_over_several_blocks_misses_nothing(metric: str, share: float) -> None:
    rows, queries = random(BLOCK_ROWS + 9_000, 6), random(5, 6, seed=1)
    rows[::1000] = rows[0]  # ties, far apart
    queries[0] = rows[0]
    keep = None if share == 1.0 else np.random.default_rng(2).random(len(rows)) < share
    index = filled(rows, metric)
    together = answers(index.search(queries, 10, keep))
    assert together == [oracle(rows, query, metric, keep, 10) for query in queries]
    assert [answers(index.search(query[np.newaxis], 10, keep))[0] for query in queries] == together


@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_are_all_alike_come_in_the_order_of_adding(metric: str) -> None:
    rows = np.repeat(random(1, 32), 5_000, axis=0)
    found = answers(filled(rows, metric).search(random(2, 32, seed=1), 7))
    assert [[at for at, _ in best] for best in found] == [[0, 1, 2, 3, 4, 5, 6]] * 2


def test_more_queries_than_one_product_takes() -> None:
    rows, queries = random(500, 8), random(150, 8, seed=1)
    found = answers(filled(rows).search(queries, 3))
    assert found == [oracle(rows, query, "cosine")[:3] for query in queries]


def test_many_queries_for_very_many_rows() -> None:
    rows, queries = random(40_000, 4), random(3, 4, seed=1)
    found = answers(filled(rows).search(queries, 9_000))
    assert found == [oracle(rows, query, "cosine")[:9_000] for query in queries]


def test_a_mask_gives_never_fewer_than_it_keeps() -> None:
    index, keep = filled(random(3_000, 8)), np.zeros(3_000, bool)
    keep[[7, 2_999]] = True
    assert [sorted(rows.tolist()) for rows, _ in index.search(random(2, 8), 5, keep).found] == [
        [7, 2_999]
    ] * 2
    assert [
        len(rows) for rows, _ in index.search(random(2, 8), 5, np.zeros(3_000, bool)).found
    ] == [0, 0]


def test_an_empty_index_finds_nothing() -> None:
    rows, scores = Index(4).search(random(1, 4), 5).found[0]
    assert len(rows) == len(scores) == len(Index(4)) == 0


def test_what_was_given_comes_back_bit_for_bit_and_is_a_copy() -> None:
    rows = random(100, 5)
    index = filled(rows)
    kept = rows.copy()
    rows[:] = 0
    taken = index.take(np.array([99, 0, 0]))
    assert taken.tobytes() == kept[[99, 0, 0]].tobytes()
    taken[:] = 0
    assert index.take(np.array([99])).tobytes() == kept[[99]].tobytes()


def test_replaced_rows_are_found_by_what_they_are_now() -> None:
    index = filled(random(200, 8))
    new = random(2, 8, seed=3)
    index.replace(np.array([150, 3]), new)
    assert [rows[0] for rows, _ in index.search(new, 1).found] == [150, 3]


def test_compact_closes_up_in_the_order_of_adding() -> None:
    rows = random(BLOCK_ROWS + 9_000, 4)
    live = np.random.default_rng(1).random(len(rows)) < 0.7
    index = filled(rows)
    index.compact(live)
    assert len(index) == live.sum()
    assert index.take(np.arange(len(index))).tobytes() == rows[live].tobytes()
    assert answers(index.search(rows[:1], 5)) == [oracle(rows[live], rows[0], "cosine")[:5]]


class Snapshot:
    """Vectors mapped from a file, as a snapshot has them."""

    def __init__(self, folder: Path, index: Index) -> None:
        np.save(folder / "vectors.npy", index.take(np.arange(len(index))))
        self.vectors: Any = np.load(folder / "vectors.npy", mmap_mode="r")
        self.codes = {name: array.copy() for name, array in index.codes().items()}


def test_an_index_over_mapped_vectors_answers_alike_and_holds_only_the_rest_in_memory(
    tmp_path: Path,
) -> None:
    index = filled(random(20_000, 128))
    snapshot = Snapshot(tmp_path, index)
    again = Index(128, vectors=snapshot.vectors, codes=snapshot.codes)
    without = Index(128, vectors=snapshot.vectors)
    query = random(3, 128, seed=1)
    assert (
        answers(again.search(query, 5))
        == answers(without.search(query, 5))
        == answers(index.search(query, 5))
    )
    assert again.nbytes < 20_000 * 128 * 4 / 2


def test_rows_added_to_a_mapped_index_leave_its_file_alone(tmp_path: Path) -> None:
    rows = random(BLOCK_ROWS + 7_000, 4)
    snapshot = Snapshot(tmp_path, filled(rows))
    index = Index(4, vectors=snapshot.vectors, codes=snapshot.codes)
    more = random(10, 4, seed=1)
    index.append(more)
    index.replace(np.array([0]), more[:1])
    assert index.take(np.array([0, BLOCK_ROWS + 7_009])).tobytes() == more[[0, 9]].tobytes()
    assert np.load(tmp_path / "vectors.npy").tobytes() == rows.tobytes()


def test_room_for_growth_is_not_counted_as_memory() -> None:
    index = Index(8)
    for row in random(1_000, 8):
        index.append(row[np.newaxis])
    assert index.nbytes == 1_000 * (8 * 4 + 4)


def test_the_plan_is_told_in_words() -> None:
    index, query = filled(random(2_000, 4)), random(1, 4)
    assert index.search(query, 3).plan == "exact scan of 2,000 rows"
    assert (
        index.search(query, 3, np.arange(2_000) < 1_200).plan == "exact scan of 1,200 of 2,000 rows"
    )


def test_waiting_for_the_codes_counts_their_rows(jobs: list[Progress]) -> None:
    index = filled(random(5_000, 96))
    index.wait()
    job = jobs[0]
    assert (job.name, job.done, job.total) == ("index", 5_000, 5_000)


def test_without_numkong_large_indexes_are_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conduit_lab.vectors.index.packed.find_spec", lambda name: None)
    rows = random(5_000, 96)
    index = filled(rows)
    index.wait()
    found = index.search(rows[7:8], 1)
    assert found.plan == "exact scan of 5,000 rows"
    assert answers(found)[0][0][0] == 7
