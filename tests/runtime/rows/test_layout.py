"""The batch axis, by the names of the axes and, without names, by the operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.spec import TensorSpec
from conduit_lab.runtime.rows.flow import INDEPENDENT, MIXED
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.session import Session
from tests.runtime import graphs
from tests.runtime.graphs import node
from tests.runtime.rows import members

Shape = tuple[int | str, ...]


def layout(inputs: list[Shape], outputs: list[Shape]) -> Layout:
    ins, outs = (
        tuple(TensorSpec(f"{name}{i}", "float32", shape) for i, shape in enumerate(shapes))
        for name, shapes in (("x", inputs), ("y", outputs))
    )
    return Layout.of_specs(ins, outs)


@pytest.mark.parametrize(
    ("inputs", "outputs", "axes", "found"),
    [
        ([("batch", 3)], [("batch", 2)], (0,), (0,)),
        ([("n", 3, 20)], [(20, "n", 3)], (0,), (1,)),
        ([("seq", "batch", 3)], [("seq", "batch", 4)], (1,), (1,)),
        ([(20, "batch", 3)], [("batch", 3)], (1,), (0,)),
        ([("T", "N", 3)], [("N", 3)], (1,), (0,)),
        ([("n", "samples"), (2, "n", 128), ()], [("n", 1), (2, "n", 128)], (0, 1, None), (0, 1)),
        ([("?", "?"), (2, "?", 128), ()], [(2, 3)], (0, 1, None), (None,)),
        ([("batch", 3)], [("k", 7)], (0,), (None,)),
        ([("batch", 3)], [()], (0,), (None,)),
        ([("batch", 3)], [(1, 5)], (0,), (None,)),
        ([("batch", 3)], [("batch*4", 3)], (0,), (None,)),
        ([("batch", 3)], [("batch", "batch")], (0,), (None,)),
        ([("n", "n")], [("n",)], (None,), (None,)),
        ([(1, "n", 3)], [(1, "n")], (0,), (0,)),
        (
            [("a_batch", 5), ("b_batch", 3)],
            [("a_batch", 8), ("b_batch", "a_batch")],
            (0, 0),
            (0, None),
        ),
        ([(1, 3)], [(1, 2)], (0,), (0,)),
        ([(1, 3)], [("k", 7)], (0,), (None,)),
        ([(1, 512), (2, 1, 64), (1,)], [(1, 1), (2, 1, 64), (20, 1, 37)], (0, 1, None), (0, 1, 1)),
        ([(4,)], [(4,)], (None,), (None,)),
        ([(4, 3)], [(4, 3)], (None,), (None,)),
    ],
)  # fmt: skip
def test_the_batch_axis_follows_from_axis_names(
    inputs: list[Shape],
    outputs: list[Shape],
    axes: tuple[int | None, ...],
    found: tuple[int | None, ...],
) -> None:
    got = layout(inputs, outputs)
    assert (got.inputs, got.outputs) == (axes, found)


def test_callers_are_coalesced_only_where_everything_has_a_batch_axis() -> None:
    assert layout([("n", 3)], [("n", 2)]).joins
    assert layout([(9, "n", 3)], [(9, "n", 2), ("n", 1)]).joins
    assert not layout([("n", 3), ()], [("n", 2)]).joins
    assert not layout([("n", 3)], [("n", 2), (5,)]).joins
    assert not layout([(1, 3)], [(1, 2)]).joins
    assert not layout([("text_batch", 3), ("image_batch", 3)], [("text_batch", 2)]).joins


@pytest.mark.parametrize(
    "name", [name for name, member in members.INDEPENDENT.items() if member.axis == 0]
)
def test_without_names_the_operators_give_the_batch_axis(tmp_path: Path, name: str) -> None:
    member = members.INDEPENDENT[name]
    assert Layout.of(Session(member.save(tmp_path / "m.onnx"))).outputs == (member.out,)


@pytest.mark.parametrize("tool", ["unk__", "DynamicDimension.", "p2o.DynamicDimension."])
def test_a_generated_axis_name_is_no_name(tmp_path: Path, tool: str) -> None:
    path = graphs.save(
        tmp_path / "m.onnx",
        [node("Relu", ["x"], ["y"]), node("NonZero", ["x"], ["z"])],
        [graphs.value("x", [f"{tool}12", 3])],
        [graphs.value("y", [f"{tool}13", 3]), graphs.value("z", [2, f"{tool}14"], "int64")],
    )
    assert Layout.of(Session(path)).outputs == (0, None)


@pytest.mark.parametrize(
    ("kind", "size"), [("Relu", 4), ("Softmax", 4), ("Softmax over the rows", 0)]
)
def test_a_fixed_axis_is_a_batch_where_the_operators_prove_it(
    tmp_path: Path, kind: str, size: int
) -> None:
    attributes = {"axis": 0 if " " in kind else 1} if kind.startswith("Softmax") else {}
    made = node(kind.partition(" ")[0], ["x"], ["y"], **attributes)
    path = graphs.save(
        tmp_path / "m.onnx", [made], [graphs.value("x", [4, 3])], [graphs.value("y", [4, 3])]
    )
    assert Layout.of(Session(path)).size == size


def test_feeds_are_sliced_repeated_and_concatenated_along_their_own_axes() -> None:
    where = layout([("n", 2), (3, "n"), ()], [("n", 2), (3, "n")])
    feeds = {"x0": np.arange(8).reshape(4, 2), "x1": np.arange(12).reshape(3, 4), "x2": np.array(7)}
    part = where.part(feeds, 1, 3)
    np.testing.assert_array_equal(part["x0"], feeds["x0"][1:3])
    np.testing.assert_array_equal(part["x1"], feeds["x1"][:, 1:3])
    assert part["x2"] == 7
    assert {name: array.shape for name, array in where.repeat(feeds, 9).items()} == {
        "x0": (9, 2),
        "x1": (3, 9),
        "x2": (),
    }
    pieces = [[piece["x0"], piece["x1"]] for piece in where.pieces(feeds, 3)]
    for whole, name in zip(where.joined(pieces), ("x0", "x1"), strict=True):
        np.testing.assert_array_equal(whole, feeds[name])
    spans = [(0, 1), (1, 4)]
    cut = where.split([feeds["x0"], feeds["x1"]], [1, 3])
    for (first, second), (start, stop) in zip(cut, spans, strict=True):
        np.testing.assert_array_equal(first, feeds["x0"][start:stop])
        np.testing.assert_array_equal(second, feeds["x1"][:, start:stop])


def test_a_deleted_file_proves_nothing_about_its_rows(tmp_path: Path) -> None:
    path = graphs.linear(tmp_path / "m.onnx", np.ones((3, 2)))
    layout = Layout.of(Session(path))
    assert layout.mixed() == INDEPENDENT
    path.unlink()
    assert layout.mixed() == MIXED
