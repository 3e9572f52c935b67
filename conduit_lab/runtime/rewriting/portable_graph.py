"""portable_graph: a model file as one ONNX graph that needs no other file and no NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conduit_lab.runtime.checks import external
from conduit_lab.runtime.checks.nodes import all_tensors
from conduit_lab.runtime.sessions.npz import Dense

_OPSET = 20  # the first with Gelu
_IR_VERSION = 9


def portable_graph(path: Path) -> bytes:
    """Return the bytes of an ONNX file, its external data inlined, or of a `.npz` network's graph.

    The graph of a network has the input and output of `Dense`, and computes the same in float32.
    """
    if path.suffix == ".npz":
        return _dense_graph(Dense(path))
    import onnx

    content = path.read_bytes()
    model = onnx.load_from_string(content)
    tensors = list(all_tensors(model))
    if all(tensor.data_location != tensor.EXTERNAL for tensor in tensors):
        return content
    external.load_tensors(path, tensors)
    return bytes(model.SerializeToString(deterministic=True))


def _dense_graph(network: Dense) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    weights: list[Any] = []
    value = "input"
    for place, (weight, bias, activation) in enumerate(network.layers):
        weights.append(numpy_helper.from_array(weight, f"W{place}"))
        weights.append(numpy_helper.from_array(bias, f"b{place}"))
        product, total = f"product{place}", f"sum{place}"
        nodes.append(helper.make_node("MatMul", [value, f"W{place}"], [product]))
        nodes.append(helper.make_node("Add", [product, f"b{place}"], [total]))
        operator, attributes = _OPERATORS[activation]
        value = "output" if place == len(network.layers) - 1 else f"value{place}"
        nodes.append(helper.make_node(operator, [total], [value], **attributes))
    specs = [
        helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, list(spec.shape))
        for spec in (*network.inputs, *network.outputs)
    ]
    graph = helper.make_graph(nodes, "dense", specs[:1], specs[1:], weights)
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
    return bytes(model.SerializeToString(deterministic=True))


_OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("Identity", {}),
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "gelu": ("Gelu", {"approximate": "tanh"}),
    "softmax": ("Softmax", {"axis": -1}),
}
