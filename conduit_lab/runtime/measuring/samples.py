"""Sample networks with fixed random weights, for the check of a device."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.spec import Array

# one row of each network's input, float32
_SHAPES = {"dense": (256,), "convolution": (3, 32, 32), "attention": (32, 64), "outer": (64,)}
NETWORKS = ("dense", "convolution", "attention")
OUTER_BYTES = 64 * 64 * 4  # of the intermediate result of "outer", per row
_HEADS = 4


def sample(name: str, rows: int) -> Array:
    """Return an input of the network, float32 `[rows, …]`."""
    return np.random.default_rng(1).standard_normal((rows, *_SHAPES[name]), np.float32)


def save_all(folder: Path) -> dict[str, Path]:
    """Write every network as an ONNX file into the folder; return the paths by name."""
    makers = {
        "dense": _dense,
        "convolution": _convolution,
        "attention": _attention,
        "outer": _outer,
    }
    return {
        name: _save(folder / f"{name}.onnx", name, *make(np.random.default_rng(0)))
        for name, make in makers.items()
    }


# nodes, weights, and the shape of one output row
_Network = tuple[list[Any], dict[str, Array], tuple[int, ...]]


def _dense(rng: np.random.Generator) -> _Network:
    """Dense layers 256 → 1 024 → 1 024 → 10 with ReLU."""
    sizes = (256, 1024, 1024, 10)
    nodes, weights, x = [], {}, "input"
    for i, (wide, narrow) in enumerate(pairwise(sizes)):
        weights[f"W{i}"], weights[f"b{i}"] = _weight(rng, wide, narrow), _weight(rng, 1, narrow)[0]
        last = i == len(sizes) - 2
        nodes.append(_node("Gemm", [x, f"W{i}", f"b{i}"], "output" if last else f"h{i}"))
        if not last:
            nodes.append(_node("Relu", [f"h{i}"], f"r{i}"))
        x = f"r{i}"
    return nodes, weights, (10,)


def _convolution(rng: np.random.Generator) -> _Network:
    """Two 3 × 3 convolutions, global average pooling, ten classes."""
    kernels = rng.standard_normal((16 * 3 + 32 * 16, 3, 3)).astype(np.float32) / 9
    weights = {"K0": kernels[:48].reshape(16, 3, 3, 3), "K1": kernels[48:].reshape(32, 16, 3, 3)}
    nodes = [
        _node("Conv", ["input", "K0"], "c0", pads=[1, 1, 1, 1]),
        _node("Relu", ["c0"], "r0"),
        _node("Conv", ["r0", "K1"], "c1", pads=[1, 1, 1, 1], strides=[2, 2]),
        _node("Relu", ["c1"], "r1"),
        _node("GlobalAveragePool", ["r1"], "mean"),
        _node("Flatten", ["mean"], "flat"),
        _node("Gemm", ["flat", "W"], "output"),
    ]
    return nodes, {**weights, "W": _weight(rng, 32, 10)}, (10,)


def _attention(rng: np.random.Generator) -> _Network:
    """Self-attention with four heads over 32 tokens of 64, with residual and layer norm."""
    tokens, wide = _SHAPES["attention"]
    weights: dict[str, Array] = {f"W{name}": _weight(rng, wide, wide) for name in "qkvo"}
    weights |= {
        "split": np.array([0, tokens, _HEADS, wide // _HEADS]),
        "join": np.array([0, tokens, wide]),
        "scale": np.array((wide // _HEADS) ** -0.5, np.float32),
        "gain": np.ones(wide, np.float32),
    }
    nodes = []
    for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            _node("MatMul", ["input", f"W{name}"], name),
            _node("Reshape", [name, "split"], f"{name} heads"),
            _node("Transpose", [f"{name} heads"], f"{name} by head", perm=order),
        ]
    nodes += [
        _node("MatMul", ["q by head", "k by head"], "scores"),
        _node("Mul", ["scores", "scale"], "scaled"),
        _node("Softmax", ["scaled"], "weights"),
        _node("MatMul", ["weights", "v by head"], "mixed"),
        _node("Transpose", ["mixed"], "by token", perm=[0, 2, 1, 3]),
        _node("Reshape", ["by token", "join"], "joined"),
        _node("MatMul", ["joined", "Wo"], "attended"),
        _node("Add", ["attended", "input"], "sum"),
        _node("LayerNormalization", ["sum", "gain"], "output"),
    ]
    return nodes, weights, (tokens, wide)


def _outer(rng: np.random.Generator) -> _Network:
    """The row maximum of an outer product: 16 KB of intermediate result per 256-byte output."""
    nodes = [
        _node("Reshape", ["input", "column"], "columns"),
        _node("MatMul", ["columns", "row"], "products"),
        _node("ReduceMax", ["products"], "output", axes=[2], keepdims=0),
    ]
    return nodes, {"column": np.array([0, 64, 1]), "row": _weight(rng, 1, 64)}, (64,)


def _weight(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Return float32 `[rows, columns]` that keeps the variance of its input."""
    weight: Array = rng.standard_normal((rows, columns), np.float32) / np.float32(rows**0.5)
    return weight


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, list(inputs), [output], **attributes)


def _save(
    path: Path, name: str, nodes: list[Any], weights: dict[str, Array], row: tuple[int, ...]
) -> Path:
    from onnx import TensorProto, helper, numpy_helper

    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", *shape])
        for end, shape in (("input", _SHAPES[name]), ("output", row))
    ]
    constants = [numpy_helper.from_array(array, key) for key, array in weights.items()]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path
