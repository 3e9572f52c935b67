from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.vectors.index import packed
from conduit_lab.vectors.index.blocks import ROWS
from conduit_lab.vectors.index.packed import PIECE, Packed

Int8Array = npt.NDArray[np.int8]


def random(n: int, width: int, seed: int = 0) -> Int8Array:
    return np.random.default_rng(seed).integers(-127, 128, (n, width)).astype(np.int8)


def dots(made: Packed, asked: Int8Array, first: int = PIECE, most: int = ROWS) -> npt.NDArray[np.int32]:
    none = np.empty((len(asked), 0), np.int32)
    return np.concatenate([none, *(made.dots(asked, part) for part in made.slices(first, most))], axis=1)


@pytest.mark.parametrize("width", [1, 63, 64, 200, 384])
@pytest.mark.parametrize("queries", [1, 3, 64])
def test_products_are_those_of_the_whole_numbers(width: int, queries: int) -> None:
    rows, asked = random(PIECE + 300, width), random(queries, width, seed=1)
    rows[0], asked[0] = 127, 127
    rows[1] = -127
    assert (dots(Packed(width, rows), asked) == asked.astype(np.int32) @ rows.T.astype(np.int32)).all()


def test_slices_grow_and_keep_within_a_block() -> None:
    made = Packed(1, np.zeros((ROWS + 3 * PIECE + 5, 1), np.int8))
    parts = [(part.start, part.stop) for part in made.slices(PIECE, ROWS)]
    assert parts == [(0, PIECE), (PIECE, 9 * PIECE), (9 * PIECE, ROWS), (ROWS, len(made))]
    assert all(part.stop - part.start <= PIECE for part in made.slices(PIECE, PIECE))


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_changes_in_any_order_leave_the_same_rows(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "PIECE", 8)
        generator = np.random.default_rng(data.draw(st.integers(0, 1_000)))
        made, rows = Packed(5), np.empty((0, 5), np.int8)
        for _ in range(data.draw(st.integers(1, 8))):
            step = data.draw(st.sampled_from(["append", "append", "replace", "keep"]))
            if step == "append":
                more = random(data.draw(st.integers(0, 30)), 5, seed=int(generator.integers(1_000)))
                made.append(more)
                rows = np.concatenate([rows, more])
            elif step == "replace" and len(rows):
                at = np.unique(generator.integers(0, len(rows), 4))
                rows[at] = random(len(at), 5, seed=9)
                made.replace(at, rows[at])
            elif step == "keep":
                alive = generator.random(len(rows)) < 0.7
                made.keep(alive)
                rows = rows[alive]
            assert len(made) == len(rows)
            assert (made.rows() == rows).all()
            asked = random(2, 5, seed=3)
            assert (dots(made, asked, 8, 16) == asked.astype(np.int32) @ rows.T.astype(np.int32)).all()


def test_rows_are_copies() -> None:
    rows = random(10, 8)
    made = Packed(8, rows)
    before = rows.copy()
    rows[:] = 0
    made.append(rows[:1])
    assert (made.rows()[:10] == before).all()
