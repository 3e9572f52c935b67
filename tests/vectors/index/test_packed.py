from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.vectors.index import packed
from conduit_lab.vectors.index.blocks import BLOCK_ROWS
from conduit_lab.vectors.index.packed import PIECE_ROWS, PackedCodes

Int8Array = npt.NDArray[np.int8]


def random(n: int, width: int, seed: int = 0) -> Int8Array:
    return np.random.default_rng(seed).integers(-127, 128, (n, width)).astype(np.int8)


def dots(made: PackedCodes, asked: Int8Array, size: int = BLOCK_ROWS) -> npt.NDArray[np.int32]:
    none = np.empty((len(asked), 0), np.int32)
    return np.concatenate([none, *(made.dots(asked, part) for part in made.slices(size))], axis=1)


@pytest.mark.parametrize("width", [1, 63, 64, 200, 384])
@pytest.mark.parametrize("queries", [1, 3, 64])
def test_products_are_those_of_the_whole_numbers(width: int, queries: int) -> None:
    rows, asked = random(PIECE_ROWS + 300, width), random(queries, width, seed=1)
    rows[0], asked[0] = 127, 127
    rows[1] = -127
    assert (
        dots(PackedCodes(width, rows), asked) == asked.astype(np.int32) @ rows.T.astype(np.int32)
    ).all()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_changes_in_any_order_give_the_products_of_the_rows(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "PIECE_ROWS", 8)
        patch.setattr(packed, "_MAX_PATCHED_ROWS", 3)
        generator = np.random.default_rng(data.draw(st.integers(0, 1_000)))
        made, rows = PackedCodes(5), np.empty((0, 5), np.int8)
        for _ in range(data.draw(st.integers(1, 12))):
            if data.draw(st.booleans()) or not len(rows):
                more = random(data.draw(st.integers(0, 30)), 5, seed=int(generator.integers(1_000)))
                made.append(more)
                rows = np.concatenate([rows, more])
            else:
                at = np.unique(generator.integers(0, len(rows), 4))
                rows[at] = random(len(at), 5, seed=int(generator.integers(1_000)))
                made.replace(at, rows[at])
                if data.draw(st.booleans()):
                    for piece in made.worn():
                        made.renew(piece, rows[piece])
                    assert not made.worn()
            assert len(made) == len(rows)
            asked = random(2, 5, seed=3)
            assert (dots(made, asked, 16) == asked.astype(np.int32) @ rows.T.astype(np.int32)).all()


def test_a_piece_of_which_many_rows_were_replaced_is_worn() -> None:
    made = PackedCodes(4, random(2 * PIECE_ROWS + 10, 4))
    made.replace(np.arange(PIECE_ROWS, PIECE_ROWS + 256), random(256, 4, seed=1))
    assert made.worn() == []
    made.replace(np.array([PIECE_ROWS + 7, PIECE_ROWS + 300]), random(2, 4, seed=2))
    assert made.worn() == [slice(PIECE_ROWS, 2 * PIECE_ROWS)]


def test_rows_are_copies() -> None:
    rows = random(10, 8)
    made = PackedCodes(8, rows)
    before = rows.copy()
    rows[:] = 0
    made.append(rows[:1])
    assert (
        dots(made, random(1, 8, seed=1))[:, :10]
        == random(1, 8, seed=1).astype(np.int32) @ before.T.astype(np.int32)
    ).all()
