"""Graphs that crash an optimizer of onnxruntime load without it, and answer correctly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from conduit_lab.runtime.checks.optimizers import TRANSPOSE_FUSION, unsafe
from conduit_lab.runtime.sessions.session import Session
from tests.runtime import graphs

HALF, FULL, DOUBLE = (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
NAMES = {HALF: "float16", FULL: "float32", DOUBLE: "float64"}


def product(
    path: Path,
    steps: Sequence[Any],
    given: str = "float16",
    taken: str = "float16",
    *,
    rank: int = 3,
    second: bool = False,
    product: str = "MatMul",
    inside: str = "",
) -> Path:
    """Write `y = steps(x) @ w`, or `w @ steps(x)`.

    A step is a permutation, the type of a Cast, or an operator.
    """
    nodes: list[Any] = []
    constants = [graphs.constant("w", np.eye(4, dtype=taken))]
    name = "x"
    for number, step in enumerate(steps):
        inputs, made = [name], f"h{number}"
        attributes: dict[str, Any] = {}
        if isinstance(step, tuple):
            kind, attributes = "Transpose", {"perm": list(step)}
        elif isinstance(step, int):
            kind, attributes = "Cast", {"to": step}
        else:
            kind = step
        if kind == "heads":
            kind = "Reshape"
            constants.append(graphs.constant("heads", [-1, 4, 4]))
            inputs.append("heads")
        if kind in ("Mul", "Div"):
            constants.append(graphs.constant(f"c{number}", np.array(1, given)))
            inputs.append(f"c{number}")
        nodes.append(graphs.node(kind, inputs, [made], **attributes))
        name = made
    domain = "com.microsoft" if product != "MatMul" else ""
    nodes.append(graphs.node(product, ["w", name] if second else [name, "w"], ["y"], domain=domain))
    inputs = [graphs.value("x", [f"d{i}" for i in range(rank)], given)]
    outputs = [graphs.value("y", None, taken)]
    functions: list[Any] = []
    if inside == "branch":
        nodes[-1].output[0] = "got"
        branch = onnx.helper.make_graph(nodes, "branch", [], [graphs.value("got", None, taken)])
        nodes = [graphs.node("If", ["on"], ["y"], then_branch=branch, else_branch=branch)]
        constants.append(graphs.constant("on", np.array(True)))
    elif inside == "product in a branch":
        nodes[-1].output[0] = "got"
        branch = onnx.helper.make_graph(
            nodes[-1:], "branch", [], [graphs.value("got", None, taken)]
        )
        nodes[-1] = graphs.node("If", ["on"], ["y"], then_branch=branch, else_branch=branch)
        constants.append(graphs.constant("on", np.array(True)))
    elif inside == "function":
        opset = [onnx.helper.make_opsetid("", 17)]
        functions = [onnx.helper.make_function("own", "Turned", ["x"], [name], nodes[:-1], opset)]
        nodes = [graphs.node("Turned", ["x"], [name], domain="own"), nodes[-1]]
    return graphs.save(
        path,
        nodes,
        inputs,
        outputs,
        constants,
        domains=["com.microsoft", "own"],
        functions=functions,
    )


# Each of these crashes onnxruntime 1.32 at loading
FATAL: dict[str, dict[str, Any]] = {
    "float16, first axis last but one": {"steps": [(1, 0, 2)]},
    "float16, first axis last": {"steps": [(1, 2, 0)]},
    "float16, second input": {"steps": [(1, 0, 2)], "second": True},
    "float16, four axes": {"steps": [(1, 2, 0, 3)], "rank": 4},
    "float16, five axes": {"steps": [(1, 2, 3, 4, 0)], "rank": 5},
    "float16 after a Cast": {"steps": [HALF, (1, 0, 2)], "given": "float32"},
    "float16, a scale between": {"steps": [(1, 0, 2), "Mul"]},
    "float16, Identity between": {"steps": [(1, 0, 2), "Identity"]},
    "float16, Dropout between": {"steps": [(1, 0, 2), "Dropout"]},
    "float16, two that become one": {"steps": [(0, 2, 1), (2, 1, 0)]},
    "float16, two that become one, without a permutation": {"steps": [(0, 2, 1), "Transpose"]},
    "float16, two around a root": {"steps": [(1, 0, 2), "Sqrt", (0, 2, 1)]},
    "float16, cast to float32": {"steps": [(1, 0, 2), FULL], "taken": "float32"},
    "float64 cast to float32": {"steps": [(1, 0, 2), FULL], "given": "float64", "taken": "float32"},
    "float32 cast to float64": {
        "steps": [(1, 0, 2), DOUBLE],
        "given": "float32",
        "taken": "float64",
    },
    "int64 cast to float32": {"steps": [(1, 2, 0), FULL], "given": "int64", "taken": "float32"},
    "uint8 cast to float32": {
        "steps": [(1, 2, 0, 3), FULL],
        "given": "uint8",
        "taken": "float32",
        "rank": 4,
    },
    "float16 in a branch": {"steps": [(1, 0, 2)], "inside": "branch"},
    "float16 in a function": {"steps": [(1, 0, 2)], "inside": "function"},
    "int32 in a function": {
        "steps": [(1, 0, 2), FULL],
        "given": "int32",
        "taken": "float32",
        "inside": "function",
    },
    "float16, FusedMatMul": {"steps": [(1, 0, 2)], "product": "FusedMatMul"},
}
SAFE: dict[str, dict[str, Any]] = {
    "float32": {"steps": [(1, 0, 2)], "given": "float32", "taken": "float32"},
    "float32, cast before": {"steps": [FULL, (1, 0, 2)], "given": "int32", "taken": "float32"},
    "float16, last two axes": {"steps": [(0, 2, 1)]},
    "float16, all axes": {"steps": [(2, 1, 0)]},
    "float16, heads": {"steps": [(0, 2, 1, 3)], "rank": 4},
    "float16, matrix": {"steps": [(1, 0)], "rank": 2},
    "float16, rotary keys": {"steps": [(0, 2, 1, 3), "Mul", (0, 1, 3, 2)], "rank": 4},
    "float16, two that undo each other": {"steps": [(2, 1, 0), (2, 1, 0)]},
    "float16, heads as a batch": {"steps": [(0, 2, 1, 3), "heads", (0, 2, 1)], "rank": 4},
    "float16, no Transpose": {"steps": ["Identity"]},
    "float16, an activation between": {"steps": [(1, 0, 2), "Relu"]},
}


def expected_answer(x: Any, steps: Sequence[Any], taken: str) -> Any:
    """Return the answer of NumPy; the weights are the identity."""
    for step in steps:
        if isinstance(step, tuple):
            x = x.transpose(step)
        elif isinstance(step, int):
            x = x.astype(NAMES[step])
        elif step == "Relu":
            x = np.maximum(x, 0)
        elif step == "heads":
            x = x.reshape(-1, 4, 4)
        elif step == "Sqrt":
            x = np.sqrt(x)
        elif step == "Transpose":
            x = x.transpose()
    return x.astype(taken)


def report_answers(folder: Path) -> None:
    """Load and run each graph, and write a line for each; one may crash the process."""
    for name, how in FATAL.items():
        x = (
            np.arange(4 ** how.get("rank", 3))
            .reshape([4] * how.get("rank", 3))
            .astype(how.get("given", "float16"))
        )
        got = Session(product(folder / "m.onnx", **how)).run({"x": x})[0]
        expected = expected_answer(x, how["steps"], how.get("taken", "float16"))
        os.write(1, f"{json.dumps([name, bool(np.array_equal(got, expected))])}\n".encode())


@pytest.fixture(scope="module")
def correct_answers() -> dict[str, bool]:
    """Return whether the answer of each fatal graph is correct, up to a crash."""
    code = (
        "import sys; from pathlib import Path; "
        "from tests.runtime.checks.test_optimizers import report_answers; "
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", f"{code}report_answers(Path(sys.argv[1]))", folder],
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)]),
            },
        )
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", FATAL)
def test_a_fatal_graph_loads_and_answers_correctly(
    name: str, correct_answers: dict[str, bool]
) -> None:
    assert correct_answers.get(name) is True


@pytest.mark.parametrize("name", FATAL)
def test_a_fatal_graph_is_detected(tmp_path: Path, name: str) -> None:
    assert unsafe(graphs.load(product(tmp_path / "m.onnx", **FATAL[name]))) == (TRANSPOSE_FUSION,)


@pytest.mark.parametrize("inside", ["product in a branch"])
def test_a_product_inside_of_a_branch_is_detected(tmp_path: Path, inside: str) -> None:
    path = product(tmp_path / "m.onnx", [(1, 0, 2)], inside=inside)
    assert unsafe(graphs.load(path)) == (TRANSPOSE_FUSION,)


@pytest.mark.parametrize("name", SAFE)
def test_a_safe_graph_keeps_all_optimizers(tmp_path: Path, name: str) -> None:
    path = product(tmp_path / "m.onnx", **SAFE[name])
    assert unsafe(graphs.load(path)) == ()
    rank = SAFE[name].get("rank", 3)
    x = np.arange(4**rank).reshape([4] * rank).astype(SAFE[name].get("given", "float16"))
    got = Session(path).run({"x": x})[0]
    np.testing.assert_array_equal(
        got, expected_answer(x, SAFE[name]["steps"], SAFE[name].get("taken", "float16"))
    )


@pytest.mark.parametrize("dtype", [HALF, onnx.TensorProto.BFLOAT16])
def test_a_16_bit_float_from_a_node_is_detected(tmp_path: Path, dtype: int) -> None:
    tensor = onnx.helper.make_tensor("zero", dtype, [1], [0])
    nodes = [
        graphs.node("ConstantOfShape", ["shape"], ["x"], value=tensor),
        graphs.node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        graphs.node("MatMul", ["t", "t"], ["m"]),
        graphs.node("Shape", ["m"], ["y"]),
    ]
    shape = [graphs.value("shape", [3], "int64")]
    path = graphs.save(tmp_path / "m.onnx", nodes, shape, [graphs.value("y", [3], "int64")])
    assert unsafe(graphs.load(path)) == (TRANSPOSE_FUSION,)


def test_each_node_of_a_long_chain_is_visited_once(tmp_path: Path) -> None:
    """Each node doubles the number of paths to the input."""
    nodes = [graphs.node("Add", [f"h{i}", f"h{i}"], [f"h{i + 1}"]) for i in range(200)]
    nodes = [
        graphs.node("Cast", ["x"], ["h0"], to=HALF),
        *nodes,
        graphs.node("MatMul", ["h200", "h200"], ["y"]),
    ]
    path = graphs.save(
        tmp_path / "m.onnx",
        nodes,
        [graphs.value("x", [2, 2])],
        [graphs.value("y", [2, 2], "float16")],
    )
    assert unsafe(graphs.load(path)) == ()
