"""Small ONNX graphs for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Axes = Sequence[int | str | None]


def value(name: str, axes: Axes | None, dtype: str = "float32") -> Any:
    """Return an input or output of a graph; without `axes` it has no shape."""
    kinds = {"str": TensorProto.STRING}
    kind = kinds.get(dtype) or helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, None if axes is None else list(axes))


def constant(name: str, array: Any) -> Any:
    """Return an initializer."""
    return numpy_helper.from_array(np.asarray(array), name)


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    """Return one node."""
    return helper.make_node(kind, list(inputs), list(outputs), **attributes)


def save(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Sequence[Any] = (),
    metadata: dict[str, str] | None = None,
    domains: Sequence[str] = (),
    opset: int = 17,
    functions: Sequence[Any] = (),
) -> Path:
    """Write the graph, unchecked, and return its path."""
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(constants))
    opsets = [
        helper.make_opsetid("", opset),
        *(helper.make_opsetid(domain, 1) for domain in domains),
    ]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=list(functions))
    if metadata:
        helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def linear(
    path: Path, weight: Any, metadata: dict[str, str] | None = None, batch: int | str = "batch"
) -> Path:
    """Write `output = input @ weight`, float32 `[batch, in]` to `[batch, out]`."""
    weight = np.asarray(weight, np.float32)
    return save(
        path,
        [node("MatMul", ["input", "W"], ["output"])],
        [value("input", [batch, weight.shape[0]])],
        [value("output", [batch, weight.shape[1]])],
        [constant("W", weight)],
        metadata,
    )


def identity(path: Path, dtype: str, axes: Axes = ("batch", 3)) -> Path:
    """Write `output = input` for any dtype."""
    return save(
        path,
        [node("Identity", ["input"], ["output"])],
        [value("input", axes, dtype)],
        [value("output", axes, dtype)],
    )


def with_external_data(path: Path, location: str, floats: int = 6) -> Path:
    """Write `output = input @ W` with the external W, `[3, 2]`, at `location`."""
    weight = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[3, floats // 3])
    weight.data_location = TensorProto.EXTERNAL
    for key, text in (("location", location), ("offset", "0"), ("length", str(floats * 4))):
        entry = weight.external_data.add()
        entry.key, entry.value = key, text
    return save(
        path,
        [node("MatMul", ["input", "W"], ["output"])],
        [value("input", ["batch", 3])],
        [value("output", ["batch", floats // 3])],
        [weight],
    )


def load(path: Path) -> Any:
    """Return the model's protobuf."""
    return onnx.load(str(path))


def endless(path: Path) -> Path:
    """Write a graph that never ends: `y = x + 1 + 1 + …`."""
    true = node("Constant", [], ["on"], value=numpy_helper.from_array(np.array(True)))
    body = helper.make_graph(
        [node("Identity", ["going"], ["still"]), node("Add", ["v", "one"], ["next"])],
        "body",
        [value("i", [], "int64"), value("going", [], "bool"), value("v", ["n"])],
        [value("still", [], "bool"), value("next", ["n"])],
    )
    return save(
        path,
        [true, node("Loop", ["", "on", "x"], ["y"], body=body)],
        [value("x", ["n"])],
        [value("y", ["n"])],
        [constant("one", np.ones(1, np.float32))],
    )


def centred(path: Path) -> Path:
    """Write `output = input - mean of the batch`, float32 `[batch, 3]`: rows change each other."""
    return save(
        path,
        [
            node("ReduceMean", ["input"], ["mean"], axes=[0], keepdims=1),
            node("Sub", ["input", "mean"], ["output"]),
        ],
        [value("input", ["batch", 3])],
        [value("output", ["batch", 3])],
    )


def targets(path: Path) -> Path:
    """Write a classifier of two targets, as skl2onnx: `label` [n, 2] and probabilities of each."""
    nodes = [
        node("Softmax", ["x"], ["first"], axis=1),
        node("Neg", ["x"], ["negative"]),
        node("Softmax", ["negative"], ["second"], axis=1),
        node("ArgMax", ["first"], ["one"], axis=1),
        node("ArgMax", ["second"], ["other"], axis=1),
        node("Concat", ["one", "other"], ["label"], axis=1),
        node("SequenceConstruct", ["first", "second"], ["probabilities"]),
    ]
    listed = helper.make_tensor_sequence_value_info("probabilities", TensorProto.FLOAT, None)
    return save(path, nodes, [value("x", [None, 2])], [value("label", [None, 2], "int64"), listed])


def maps(name: str, kind: int = TensorProto.STRING) -> Any:
    """Return an output of one map of probabilities per row, as ZipMap has."""
    map_type = helper.make_map_type_proto(
        kind, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    return helper.make_value_info(name, helper.make_sequence_type_proto(map_type))
