from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.vectors.index import blocks
from conduit_lab.vectors.index.blocks import Blocks, block_slices, is_mapped


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 8 rows, so few rows cross many block boundaries."""
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 8)


def numbered(begin: int, end: int) -> npt.NDArray[np.float32]:
    return np.arange(2 * begin, 2 * end, dtype=np.float32).reshape(-1, 2)


def every(held: Blocks) -> npt.NDArray[np.float32]:
    return held.take(np.arange(len(held)))


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_blocks_hold_what_an_array_would(data: st.DataObject) -> None:
    held, oracle = Blocks((2,), np.float32), numbered(0, 0)
    made = 0
    for _ in range(data.draw(st.integers(1, 8))):
        step = data.draw(st.sampled_from(["append", "replace", "keep", "join"]))
        if step in ("append", "join"):
            more = numbered(made, made := made + data.draw(st.integers(0, 30)))
            if step == "append":
                held.append(more)
            else:
                other = Blocks((2,), np.float32)
                other.append(more)
                held.join(other)
            oracle = np.concatenate([oracle, more])
        elif step == "replace" and len(oracle):
            at = np.array(
                data.draw(st.lists(st.integers(0, len(oracle) - 1), unique=True)), np.int64
            )
            new = numbered(made, made := made + len(at))
            held.replace(at, new)
            oracle[at] = new
        elif step == "keep":
            live = np.array(
                data.draw(st.lists(st.booleans(), min_size=len(oracle), max_size=len(oracle))), bool
            )
            held.keep(live)
            oracle = oracle[live]
        assert len(held) == len(oracle)
        assert every(held).tolist() == oracle.tolist()
        assert held.nbytes == oracle.nbytes
    if len(oracle):
        at = np.array(data.draw(st.lists(st.integers(0, len(oracle) - 1))), np.int64)
        assert held.take(at).tolist() == oracle[at].tolist()
    for chunk in block_slices(0, len(oracle), 5):
        assert held.view(chunk).tolist() == oracle[chunk].tolist()


def test_a_block_that_is_there_stays_where_it_is() -> None:
    held = Blocks((2,), np.float32)
    held.append(numbered(0, 10))
    first = held.view(slice(0, 8))
    held.append(numbered(10, 100))
    assert np.shares_memory(first, held.view(slice(0, 8)))


def test_chunks_never_cross_the_edge_of_a_block() -> None:
    assert list(block_slices(3, 20, 6)) == [slice(3, 8), slice(8, 14), slice(14, 16), slice(16, 20)]


def test_rows_of_a_mapped_file_are_copied_when_they_change(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", numbered(0, 20))
    given: Any = np.load(tmp_path / "rows.npy", mmap_mode="r")
    held = Blocks((2,), np.float32, given)
    assert is_mapped(held.view(slice(0, 4)))
    assert held.nbytes == 0
    held.replace(np.array([9]), numbered(50, 51))
    held.append(numbered(20, 21))
    assert held.nbytes == (8 + 5) * 8
    assert every(held)[[0, 9, 20]].tolist() == [[0, 1], [100, 101], [40, 41]]
    assert np.load(tmp_path / "rows.npy").tolist() == numbered(0, 20).tolist()
