"""Proofs about a graph's rows, against runs of the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from conduit_lab.core.spec import TensorSpec
from conduit_lab.runtime.checks.content import identity
from conduit_lab.runtime.rows import dataflow
from conduit_lab.runtime.rows.dataflow import Dataflow
from conduit_lab.runtime.rows.flow import INDEPENDENT, MIXED, UNCLEAR
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.session import Session
from tests.runtime import graphs
from tests.runtime.graphs import constant, node
from tests.runtime.rows import members


def read(path: Path, axis: int | None = 0) -> Dataflow:
    return dataflow.read_dataflow(path, (("x", axis),))


@pytest.mark.parametrize("name", members.INDEPENDENT)
def test_independence_is_proved_where_a_batch_equals_single_runs(tmp_path: Path, name: str) -> None:
    member = members.INDEPENDENT[name]
    path = member.save(tmp_path / "m.onnx")
    assert read(path, member.axis) == Dataflow({"y": member.out}, INDEPENDENT)
    session, rows = Session(path), member.rows(4)
    (whole,) = session.run({"x": rows})
    alone = [session.run({"x": np.take(rows, [i], member.axis)})[0] for i in range(4)]
    joined = alone[0] if member.out is None else np.concatenate(alone, member.out)
    np.testing.assert_allclose(whole, joined, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", members.MIXED)
def test_independence_is_never_claimed_where_rows_affect_each_other(
    tmp_path: Path, name: str
) -> None:
    member = members.MIXED[name]
    path = member.save(tmp_path / "m.onnx")
    assert read(path, member.axis).mixed in (
        (UNCLEAR,) if name == "over the number of rows" else (MIXED, UNCLEAR)
    )
    session, rows = Session(path), member.rows(4)
    (whole,) = session.run({"x": rows})
    same = [
        np.allclose(
            whole if member.out is None else np.take(whole, [i], member.out),
            session.run({"x": np.take(rows, [i], member.axis)})[0],
            1e-3,
            1e-6,
        )
        for i in range(4)
    ]
    assert not all(same)


KNOWN = set(members.MIXED) - {"over the number of rows", "columns sorted over the batch"}


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_operators_that_mix_rows_are_recognized(tmp_path: Path, name: str) -> None:
    member = members.MIXED[name]
    assert read(member.save(tmp_path / "m.onnx"), member.axis).mixed == MIXED


@pytest.mark.parametrize("kind", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_a_random_answer_counts_as_mixed(tmp_path: Path, kind: str) -> None:
    assert read(members.one(kind).save(tmp_path / "m.onnx")).mixed == MIXED


@pytest.mark.parametrize(("training", "mixed"), [(0, INDEPENDENT), (1, MIXED)])
def test_a_batch_norm_mixes_rows_only_in_training_mode(
    tmp_path: Path, training: int, mixed: int
) -> None:
    weights = [constant(name, np.ones(3, np.float32)) for name in "abcd"]
    outputs = ["y", "mean", "variance"][: 1 + 2 * training]
    made = node("BatchNormalization", ["x", *"abcd"], outputs, training_mode=training)
    assert (
        read(
            members.Member([made], weights, ("batch", 3), ("batch", 3)).save(tmp_path / "m.onnx")
        ).mixed
        == mixed
    )


def test_an_operator_inside_of_a_branch_counts(tmp_path: Path) -> None:
    then, other = (
        helper.make_graph(nodes, name, [], [graphs.value("r", ["batch", 3])])
        for name, nodes in (
            (
                "then",
                [
                    node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
                    node("DequantizeLinear", ["q", "s", "z"], ["r"]),
                ],
            ),
            ("other", [node("Identity", ["x"], ["r"])]),
        )
    )
    branch = node("If", ["on"], ["y"], then_branch=then, else_branch=other)
    ends = [graphs.value("x", ["batch", 3])], [graphs.value("y", ["batch", 3])]
    path = graphs.save(tmp_path / "m.onnx", [branch], *ends, [constant("on", np.array(False))])
    assert read(path).mixed == MIXED


def test_a_branch_is_unclear(tmp_path: Path) -> None:
    then = helper.make_graph(
        [node("Neg", ["x"], ["r"])], "then", [], [graphs.value("r", ["batch", 3])]
    )
    branch = node("If", ["on"], ["y"], then_branch=then, else_branch=then)
    ends = [graphs.value("x", ["batch", 3])], [graphs.value("y", ["batch", 3])]
    path = graphs.save(tmp_path / "m.onnx", [branch], *ends, [constant("on", np.array(False))])
    assert read(path).mixed == UNCLEAR


@pytest.mark.parametrize("to", [(-1, 2), (2, -1), (1, -1), (-1,)])
def test_a_reshape_across_samples_proves_nothing(tmp_path: Path, to: tuple[int, ...]) -> None:
    member = members.one("Reshape", members.ints("to", *to), answer=["a"] * len(to))
    got = read(member.save(tmp_path / "m.onnx"))
    assert got.axes.get("y") is None
    assert got.mixed == UNCLEAR


def test_four_rows_per_sample_are_no_batch_axis(tmp_path: Path) -> None:
    member = members.one("Reshape", members.ints("to", -1, 4), shape=("batch", 16), answer=("a", 4))
    got = read(member.save(tmp_path / "m.onnx"))
    assert "y" not in got.axes


@pytest.mark.parametrize("opset", [11, 17])
def test_an_old_softmax_takes_all_later_axes_together(tmp_path: Path, opset: int) -> None:
    path = members.one("Softmax", shape=(4, "batch", 3), at=1, out=1).save(tmp_path / "m.onnx")
    model = graphs.load(path)
    model.opset_import[0].version = opset
    del model.graph.node[0].attribute[:]
    path.write_bytes(model.SerializeToString())
    assert read(path, 1).mixed == (MIXED if opset == 11 else INDEPENDENT)


def test_declared_output_shapes_are_ignored(tmp_path: Path) -> None:
    path = members.INDEPENDENT["dense"].save(tmp_path / "m.onnx")
    model = graphs.load(path)
    declared = model.graph.output[0].type.tensor_type.shape
    declared.dim[0].dim_value = 1  # as after an export with a single-row example
    path.write_bytes(model.SerializeToString())
    assert read(path).axes == {"y": 0}


@pytest.mark.parametrize("kind", ["DynamicQuantizeLinear", "RandomNormalLike"])
def test_a_graph_that_mixes_rows_keeps_its_batch_axis(tmp_path: Path, kind: str) -> None:
    if kind == "RandomNormalLike":
        member = members.Member(
            [node(kind, ["x"], ["noise"]), node("Add", ["x", "noise"], ["y"])],
            [],
            ("batch", 3),
            ("batch", 3),
        )
    else:
        member = members.MIXED["int8 with one scale"]
    assert read(member.save(tmp_path / "m.onnx")) == Dataflow({"y": 0}, MIXED)


def test_a_file_that_cannot_be_read_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    specs = [TensorSpec(name, "float32", ("batch", 2)) for name in ("x", "y")]
    layout = Layout.of_specs(specs[:1], specs[1:], (path, identity(path)))
    assert layout.mixed() == UNCLEAR


def test_nodes_in_any_order_are_followed(tmp_path: Path) -> None:
    path = members.INDEPENDENT["attention within a row"].save(tmp_path / "m.onnx")
    model = graphs.load(path)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())
    assert read(path) == Dataflow({"y": 0}, INDEPENDENT)
