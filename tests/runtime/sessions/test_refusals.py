"""Graphs are accepted or rejected by onnxruntime, and a rejection gives the actual reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.spec import TensorSpec
from conduit_lab.runtime.sessions.session import Session
from tests.runtime import graphs

X = np.array([[1, 2, 3]], np.float32)
ONE = np.ones(3, np.float32)


def path_of(
    folder: Path, nodes: list[Any], constants: dict[str, Any] | None = None, **rest: Any
) -> Path:
    """Write a graph from x, float32 [n, 3], to y of the same shape."""
    given = [graphs.constant(name, array) for name, array in (constants or {}).items()]
    return graphs.save(
        folder / "m.onnx",
        nodes,
        [graphs.value("x", ["n", 3])],
        [graphs.value("y", ["n", 3])],
        given,
        **rest,
    )


def run(path: Path) -> Any:
    return Session(path).run({"x": X})[0]


# Graphs that onnxruntime runs and ONNX's own checker rejects


@pytest.mark.parametrize("opset", [11, 13, 14, 16])
def test_layer_normalization_before_opset_17(tmp_path: Path, opset: int) -> None:
    node = graphs.node("LayerNormalization", ["x", "g", "b"], ["y"], epsilon=1e-5)
    got = run(path_of(tmp_path, [node], {"g": ONE, "b": ONE}, opset=opset))
    np.testing.assert_allclose(got, (X - 2) / np.sqrt(2 / 3 + 1e-5) + 1, rtol=1e-5)


def test_simplified_layer_normalization(tmp_path: Path) -> None:
    got = run(
        path_of(
            tmp_path,
            [graphs.node("SimplifiedLayerNormalization", ["x", "g"], ["y"], epsilon=0.0)],
            {"g": ONE},
        )
    )
    np.testing.assert_allclose(got, X / np.sqrt(14 / 3), rtol=1e-5)


@pytest.mark.parametrize(
    ("operator", "right"),
    [("Gelu", 0.841345 * X[0, 0]), ("QuickGelu", X[0, 0] / (1 + np.exp(-1.702)))],
)
def test_operators_of_microsoft(tmp_path: Path, operator: str, right: float) -> None:
    node = graphs.node(operator, ["x"], ["y"], domain="com.microsoft")
    assert run(path_of(tmp_path, [node], domains=["com.microsoft"]))[0, 0] == pytest.approx(
        right, rel=1e-4
    )


def test_operators_of_microsoft_whose_domain_is_not_imported(tmp_path: Path) -> None:
    got = run(
        path_of(
            tmp_path, [graphs.node("QuickGelu", ["x"], ["y"], domain="com.microsoft", alpha=0.0)]
        )
    )
    np.testing.assert_allclose(got, X / 2)


def test_nodes_that_are_not_sorted(tmp_path: Path) -> None:
    nodes = [graphs.node("Neg", ["h"], ["y"]), graphs.node("Add", ["x", "x"], ["h"])]
    np.testing.assert_array_equal(run(path_of(tmp_path, nodes)), -2 * X)


def test_a_graph_without_a_name(tmp_path: Path) -> None:
    path = path_of(tmp_path, [graphs.node("Neg", ["x"], ["y"])])
    model = graphs.load(path)
    model.graph.ClearField("name")
    path.write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(run(path), -X)


def test_weights_in_4_bits(tmp_path: Path) -> None:
    """MatMulNBits: two weights per byte, the lower one first, 8 for zero."""
    packed = np.full((3, 1, 8), 0x99, np.uint8)
    node = graphs.node(
        "MatMulNBits",
        ["x", "w", "s"],
        ["y"],
        domain="com.microsoft",
        K=3,
        N=3,
        bits=4,
        block_size=16,
    )
    scales = np.ones((3, 1), np.float32)
    got = run(path_of(tmp_path, [node], {"w": packed, "s": scales}, domains=["com.microsoft"]))
    np.testing.assert_allclose(got, [[6, 6, 6]])


def test_a_merged_decoder_with_its_branch_as_an_input(tmp_path: Path) -> None:
    branches = [
        onnx.helper.make_graph(
            [graphs.node(kind, ["x"], ["got"])], kind, [], [graphs.value("got", None)]
        )
        for kind in ("Neg", "Identity")
    ]
    path = graphs.save(
        tmp_path / "decoder_model_merged.onnx",
        [
            graphs.node(
                "If", ["use_cache_branch"], ["y"], then_branch=branches[0], else_branch=branches[1]
            )
        ],
        [graphs.value("x", ["n", 3]), graphs.value("use_cache_branch", [], "bool")],
        [graphs.value("y", ["n", 3])],
    )
    session = Session(path)
    got = [session.run({"x": X, "use_cache_branch": np.array(on)})[0][0, 0] for on in (True, False)]
    assert got == [-1, 1]


# Inputs and outputs of any rank


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3)])
def test_an_input_of_unknown_rank_takes_any_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = graphs.save(
        tmp_path / "m.onnx",
        [graphs.node("Neg", ["x"], ["y"])],
        [graphs.value("x", None)],
        [graphs.value("y", None)],
    )
    session = Session(path)
    assert session.inputs == (TensorSpec("x", "float32", (), ranked=False),)
    assert str(session.outputs[0]) == "float32 [...]"
    assert session.inputs[0].fits(shape)
    assert session.run({"x": np.ones(shape, np.float32)})[0].shape == shape


def test_an_output_has_the_shape_that_onnxruntime_infers(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "m.onnx",
        [graphs.node("Neg", ["x"], ["y"])],
        [graphs.value("x", ["n", 3])],
        [graphs.value("y", None)],
    )
    assert Session(path).outputs == (TensorSpec("y", "float32", ("n", 3)),)


def test_a_scalar_is_ranked(tmp_path: Path) -> None:
    session = Session(graphs.identity(tmp_path / "m.onnx", "float32", []))
    assert session.inputs[0].ranked
    assert not session.inputs[0].fits((1,))


# Graphs that onnxruntime rejects


def node_of(kind: str, inputs: list[str], **rest: Any) -> list[Any]:
    return [graphs.node(kind, inputs, ["y"], **rest)]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (node_of("Own", ["x"], domain="my.own"), r"Own.*register_custom_ops\(path\)"),
        (node_of("Foo", ["x"]), "No Op registered for Foo"),
        (
            node_of("Gradient", ["x"], domain="ai.onnx.preview.training"),
            "Gradient.*not a registered",
        ),
        (node_of("Add", ["x", "lost"]), "input 'lost' is not a graph input"),
        (node_of("Cast", ["x"]), "attribute 'to' is missing"),
        (node_of("Relu", ["x"], depth=3), "Unrecognized attribute: depth"),
        (node_of("And", ["x", "x"]), r"tensor\(float\).*of operator \(And\)"),
        (node_of("Add", ["x", "y"]), "not acyclic"),
        ([*node_of("Neg", ["x"]), *node_of("Neg", ["x"])], r"Duplicate definition of name \(y\)"),
    ],
)
def test_a_graph_that_does_not_run_is_refused_by_its_reason(
    tmp_path: Path, nodes: list[Any], words: str
) -> None:
    domains = [node.domain for node in nodes if node.domain]
    with pytest.raises(ModelLoadError, match=rf"m\.onnx cannot be loaded: .*{words}") as caught:
        run(path_of(tmp_path, nodes, domains=domains))
    said = str(caught.value)
    assert "cut short" not in said
    assert "ONNXRuntimeError" not in said
    assert "onnxruntime_src" not in said


def test_nodes_of_a_branch_that_are_not_sorted_are_named(tmp_path: Path) -> None:
    nodes = [graphs.node("Neg", ["h"], ["got"]), graphs.node("Add", ["x", "x"], ["h"])]
    branch = onnx.helper.make_graph(nodes, "branch", [], [graphs.value("got", None)])
    choice = graphs.node("If", ["on"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(ModelLoadError, match="must be topologically sorted, however input 'h'"):
        run(path_of(tmp_path, [choice], {"on": np.array(True)}))


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("ir_version", "Unsupported model IR version: 99"),
        ("opset", "Opset 99 is under development"),
    ],
)
def test_a_format_newer_than_onnxruntime_asks_for_an_update(
    tmp_path: Path, field: str, words: str
) -> None:
    path = path_of(tmp_path, [graphs.node("Neg", ["x"], ["y"])])
    model = graphs.load(path)
    if field == "opset":
        model.opset_import[0].version = 99
    else:
        model.ir_version = 99
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelLoadError, match=rf"cannot be loaded: .*{words}.*; update onnxruntime"):
        Session(path)
