from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.index import codes
from conduit_lab.vectors.index.accelerators import INT8_ROWS
from conduit_lab.vectors.index.codes import Int8Codes
from conduit_lab.vectors.index.index import Index
from conduit_lab.vectors.index.principal_axes import PrincipalAxes
from tests.vectors.index.test_index import answers, oracle, random

DIMENSION = 160
ROWS = INT8_ROWS + 900
VALUES = st.floats(-1e6, 1e6, width=32).map(lambda value: value if abs(value) > 1e-6 else 0.0)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are coded along axes as soon as they are coded."""
    monkeypatch.setattr(codes, "AXES_ROWS", 1)


@pytest.fixture
def indexes(soon: None) -> Iterator[Callable[..., Index]]:
    made: list[Index] = []

    def make(rows: FloatArray, metric: str = "cosine") -> Index:
        index = Index(rows.shape[1], metric)
        made.append(index)
        index.append(rows)
        index.wait()
        return index

    yield make
    for index in made:
        index.close()


def flat(n: int, seed: int = 0) -> FloatArray:
    """Return rows that lie near a space of 30 dimensions."""
    plane = np.random.default_rng(8).standard_normal((30, DIMENSION), np.float32)
    return random(n, 30, seed=seed) @ plane + np.float32(0.3) * random(
        n, DIMENSION, seed=seed + 100
    )


def width(index: Index) -> int:
    made = index._accelerators.codes
    assert isinstance(made, Int8Codes)
    return DIMENSION if made.axes is None else len(made.axes.rotated)


@settings(deadline=None)
@given(data=st.data())
def test_a_dot_product_is_never_below_and_lengths_stay(data: st.DataObject) -> None:
    dimension = data.draw(st.integers(2, 70))
    count = data.draw(st.integers(1, dimension - 1))
    axes = PrincipalAxes.of(
        np.linalg.qr(np.random.default_rng(count).standard_normal((dimension, dimension)))[0][
            :count
        ]
    )
    rows = data.draw(
        hnp.arrays(
            np.float32, (data.draw(st.integers(1, 5)), dimension), elements=VALUES, fill=VALUES
        )
    )
    values, wide = axes(rows).astype(np.float64), rows.astype(np.float64)
    assert values.shape == (len(rows), count + 1)
    lengths = np.sqrt(np.square(wide).sum(axis=1))
    assert np.allclose(
        np.sqrt(np.square(values).sum(axis=1)), lengths, rtol=2 * axes.tolerance, atol=1e-12
    )
    assert (values @ values.T + axes.tolerance * np.outer(lengths, lengths) >= wide @ wide.T).all()


def test_as_few_as_serve_are_taken() -> None:
    axes = PrincipalAxes.along(flat(2_000))
    assert axes is not None
    assert axes.rotated.shape == (64, DIMENSION + 1)
    assert PrincipalAxes.along(random(2_000, DIMENSION)) is None  # random: all axes are needed
    assert PrincipalAxes.along(flat(20)) is None  # too few to tell


def test_a_vector_among_others_is_what_it_is_alone() -> None:
    axes, rows = PrincipalAxes.along(flat(2_000)), flat(3, seed=5)
    assert axes is not None
    assert np.allclose(axes(rows)[1], axes(rows[1:2])[0], atol=1e-4)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_searches_answer_as_the_formulas_do(indexes: Callable[..., Index], metric: str) -> None:
    rows, queries = flat(ROWS), flat(6, seed=1)
    queries[0] = rows[5]
    rows[::500] = rows[5]
    rows[7] = 0
    index = indexes(rows, metric)
    assert width(index) == 64
    for share in (1.0, 0.6, 0.3):
        keep = None if share == 1.0 else np.random.default_rng(3).random(len(rows)) < share
        expected = [oracle(rows, query, metric, keep)[:10] for query in queries]
        answer = index.search(queries, 10, keep)
        assert answer.plan.startswith("int8 scan")
        assert answers(answer) == expected
        assert [
            answers(index.search(query[np.newaxis], 10, keep))[0] for query in queries
        ] == expected


def test_queries_and_rows_across_the_axes_are_found(indexes: Callable[..., Index]) -> None:
    rows, across = flat(ROWS), random(3, DIMENSION, seed=2)
    index = indexes(rows)
    index.append(across[:2])
    index.replace(np.array([11]), across[2:])
    rows[11] = across[2]
    rows = np.concatenate([rows, across[:2]])
    for query in across:
        assert answers(index.search(query[np.newaxis], 5)) == [oracle(rows, query, "cosine")[:5]]


def test_compact_and_a_snapshot_keep_the_axes(indexes: Callable[..., Index]) -> None:
    rows = flat(ROWS + 500)
    index = indexes(rows)
    live = np.arange(len(rows)) % 9 > 0
    index.compact(live)
    index.wait()
    again = Index(DIMENSION, vectors=rows[live], codes=index.codes())
    query = flat(1, seed=4)
    for one in (index, again):
        assert width(one) == 64
        answer = one.search(query, 10)
        assert answer.plan.startswith("int8 scan")
        assert answers(answer) == [oracle(rows[live], query[0], "cosine")[:10]]
    again.close()


def test_axes_that_were_outgrown_are_chosen_anew(indexes: Callable[..., Index]) -> None:
    few = np.zeros((INT8_ROWS, DIMENSION), np.float32)
    few[:, :30] = random(INT8_ROWS, 30)
    index = indexes(few)
    rows = np.concatenate([few, flat(4 * INT8_ROWS, seed=3)])
    index.append(rows[INT8_ROWS:])
    index.wait()
    assert width(index) == 64
    query = flat(1, seed=5)
    answer = index.search(query, 10)
    assert answer.plan == f"int8 scan of {len(rows):,} rows"
    assert answers(answer) == [oracle(rows, query[0], "cosine")[:10]]


def test_few_rows_are_coded_whole() -> None:
    index = Index(DIMENSION)
    index.append(flat(ROWS))
    index.wait()
    assert width(index) == DIMENSION
    index.close()
