"""Dummy inputs made only from a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.spec import Array
from conduit_lab.runtime.rewriting import dummy_inputs
from conduit_lab.runtime.sessions.session import Session
from tests.runtime import graphs


def made(path: Path, rows: int = 8) -> dict[str, Array]:
    return dummy_inputs.make_inputs(path, Session(path).inputs, rows)


def looked_up(path: Path, *between: Any) -> Path:
    """Write a table of 3 rows, indexed by `ids`; nodes `between` map them to `places`."""
    return graphs.save(
        path,
        [*between, graphs.node("Gather", ["table", "places" if between else "ids"], ["output"])],
        [graphs.value("ids", ["batch", "tokens"], "int64")],
        [graphs.value("output", ["batch", "tokens", 4])],
        [graphs.constant("table", np.zeros((3, 4), np.float32))],
    )


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        (("batch", 3), (8, 3)),
        ((2, 3), (2, 3)),
        (("batch", "n", 3), (8, dummy_inputs.FREE_AXIS_LENGTH, 3)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "bool"])
def test_has_the_shape_and_dtype_of_the_input(
    tmp_path: Path, dtype: str, axes: Any, shape: tuple[int, ...]
) -> None:
    array = made(graphs.identity(tmp_path / "a.onnx", dtype, axes))["input"]
    assert (array.shape, str(array.dtype)) == (shape, dtype)


def test_inputs_are_reproducible(tmp_path: Path) -> None:
    path = graphs.identity(tmp_path / "a.onnx", "float32")
    np.testing.assert_array_equal(made(path)["input"], made(path)["input"])


def test_ids_lie_within_their_table(tmp_path: Path) -> None:
    ids = made(looked_up(tmp_path / "a.onnx"), 50)["ids"]
    assert set(ids.flat) == {0, 1, 2}


def test_ids_are_followed_through_casts(tmp_path: Path) -> None:
    ids = made(looked_up(tmp_path / "a.onnx", graphs.node("Cast", ["ids"], ["places"], to=6)), 50)[
        "ids"
    ]
    assert set(ids.flat) == {0, 1, 2}


def test_other_integers_are_a_mask(tmp_path: Path) -> None:
    assert set(made(graphs.identity(tmp_path / "a.onnx", "int64"))["input"].flat) == {1}


def test_text_cannot_be_made_up(tmp_path: Path) -> None:
    with pytest.raises(
        ModelInputError,
        match=r"inputs for input str \[batch, 3\] cannot be generated: pass samples=",
    ):
        made(graphs.identity(tmp_path / "a.onnx", "str"))
