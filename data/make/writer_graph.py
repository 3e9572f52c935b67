"""The demo writer's network as an ONNX graph with the interface of Hugging Face's exports."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from writer_network import BACK, EPSILON, HIDDEN, SLOPES, Shape

OPSET = 17
_LAST = 2**31


class Graph:
    """A graph under construction: nodes and weights in order, with numbered names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(
        self, operator: str, *inputs: str, output: str | None = None, **attributes: object
    ) -> str:
        """Append a node and return the name of its output."""
        name = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: object, dtype: type = np.float32) -> str:
        """Append a constant and return its name."""
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, name: str, value: np.ndarray) -> str:
        """Append a weight stored as float16 and cast to float32 once per session."""
        self.weights.append(numpy_helper.from_array(value.astype(np.float16), name))
        return self.add("Cast", name, to=TensorProto.FLOAT)

    def normed(self, x: str, weight: str) -> str:
        """Append a root mean square norm over the last axis."""
        mean = self.add("ReduceMean", self.add("Mul", x, x), axes=[-1], keepdims=1)
        root = self.add("Sqrt", self.add("Add", mean, self.constant(EPSILON)))
        return self.add("Mul", self.add("Div", x, root), weight)


def model_of(weights: Mapping[str, np.ndarray], shape: Shape) -> onnx.ModelProto:
    """Return the model; `weights` are the network's weights by name."""
    graph = Graph()
    distance, hidden = _distances(graph)
    falls = graph.add("Mul", distance, graph.constant(np.reshape(SLOPES, (1, -1, 1, 1))))
    bias = graph.add("Sub", hidden, falls)
    embedding = graph.weight("embedding", weights["embedding"])
    x = graph.add("Gather", embedding, "input_ids")
    x = graph.normed(x, graph.constant(np.ones(shape.width)))
    for number in range(shape.layers):
        own = {
            name.split(".", 2)[2]: w
            for name, w in weights.items()
            if name.startswith(f"layers.{number}.")
        }
        x = _layer(graph, x, bias, own, number, shape)
    x = graph.normed(x, graph.weight("norm", weights["norm"]))
    graph.add("MatMul", x, graph.add("Transpose", embedding, perm=[1, 0]), output="logits")
    return _model(graph, shape)


def _distances(graph: Graph) -> tuple[str, str]:
    """Return the distance of each key from each query, and the attention mask."""
    mask = graph.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    keys = graph.add(
        "Sub", graph.add("CumSum", mask, graph.constant(1, np.int64)), graph.constant(1.0)
    )
    keys = graph.add("Unsqueeze", keys, graph.constant([1, 2], np.int64))
    queries = graph.add("Cast", "position_ids", to=TensorProto.FLOAT)
    queries = graph.add("Unsqueeze", queries, graph.constant([1, 3], np.int64))
    distance = graph.add("Sub", queries, keys)
    later = graph.add("Less", distance, graph.constant(0.0))
    padding = graph.add(
        "Unsqueeze", graph.add("Less", mask, graph.constant(0.5)), graph.constant([1, 2], np.int64)
    )
    hidden = graph.add(
        "Where", graph.add("Or", later, padding), graph.constant(HIDDEN), graph.constant(0.0)
    )
    return distance, hidden


def _layer(
    graph: Graph, x: str, bias: str, weights: Mapping[str, np.ndarray], number: int, shape: Shape
) -> str:
    def linear(value: str, name: str) -> str:
        return graph.add("MatMul", value, graph.weight(f"{number}.{name}", weights[name].T.copy()))

    def norm(value: str, name: str) -> str:
        return graph.normed(value, graph.weight(f"{number}.{name}", weights[name]))

    split = graph.constant([0, 0, shape.heads, shape.head], np.int64)
    joined = graph.constant([0, 0, shape.width], np.int64)

    def heads(value: str) -> str:
        return graph.add("Transpose", graph.add("Reshape", value, split), perm=[0, 2, 1, 3])

    def flat(value: str) -> str:
        return graph.add("Reshape", graph.add("Transpose", value, perm=[0, 2, 1, 3]), joined)

    h = norm(x, "attention_norm")
    query = norm(heads(linear(h, "query")), "query_norm")
    key = norm(heads(linear(h, "key")), "key_norm")
    value = heads(linear(h, "value"))
    past = f"past_key_values.{number}"
    keys = graph.add("Concat", f"{past}.key", key, output=f"present.{number}.key", axis=2)
    values = graph.add("Concat", f"{past}.value", value, output=f"present.{number}.value", axis=2)
    scores = graph.add("MatMul", query, graph.add("Transpose", keys, perm=[0, 1, 3, 2]))
    scores = graph.add("Add", graph.add("Mul", scores, graph.constant(shape.head**-0.5)), bias)
    mixed = [flat(graph.add("MatMul", graph.add("Softmax", scores, axis=-1), values))]
    mixed += [flat(before) for before in _before(graph, f"{past}.value", value)]
    x = graph.add("Add", x, linear(graph.add("Concat", *mixed, axis=-1), "out"))
    h = norm(x, "inner_norm")
    gate = linear(h, "gate")
    gate = graph.add("Mul", gate, graph.add("Sigmoid", gate))
    return graph.add("Add", x, linear(graph.add("Mul", gate, linear(h, "up")), "down"))


def _before(graph: Graph, past: str, value: str) -> list[str]:
    """Return the values shifted by one token, two tokens, …, padded with zeros."""

    def part(of: str, start: int, end: int) -> str:
        bounds = [graph.constant([bound], np.int64) for bound in (start, end, 2)]
        return graph.add("Slice", of, *bounds)

    last = part(past, -BACK, _LAST)
    last = graph.add("Pad", last, graph.constant([0, 0, BACK, 0, 0, 0, 0, 0], np.int64))
    row = graph.add("Concat", part(last, -BACK, _LAST), value, axis=2)
    return [part(row, BACK - back, -back) for back in range(1, BACK + 1)]


def _model(graph: Graph, shape: Shape) -> onnx.ModelProto:
    def tensor(name: str, dtype: int, *dimensions: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, dtype, dimensions)

    def cache(kind: str, tokens: str) -> list[onnx.ValueInfoProto]:
        names = [
            f"{kind}.{number}.{what}" for number in range(shape.layers) for what in ("key", "value")
        ]
        return [
            tensor(name, TensorProto.FLOAT, "batch", shape.heads, tokens, shape.head)
            for name in names
        ]

    inputs = [
        tensor("input_ids", TensorProto.INT64, "batch", "tokens"),
        tensor("attention_mask", TensorProto.INT64, "batch", "all_tokens"),
        tensor("position_ids", TensorProto.INT64, "batch", "tokens"),
        *cache("past_key_values", "past_tokens"),
    ]
    logits = tensor("logits", TensorProto.FLOAT, "batch", "tokens", shape.vocabulary)
    outputs = [logits, *cache("present", "all_tokens")]
    made = helper.make_graph(graph.nodes, "writer", inputs, outputs, graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
