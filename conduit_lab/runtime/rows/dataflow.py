"""Dataflow: the batch axis of an ONNX graph's outputs, and whether its rows are independent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from conduit_lab.runtime.checks.graph_reader import graph_reader
from conduit_lab.runtime.checks.nodes import all_nodes, opset_of
from conduit_lab.runtime.rows import dimensions
from conduit_lab.runtime.rows.flow import (
    INDEPENDENT,
    LOST,
    MIXED,
    ROWS_DIM,
    UNCLEAR,
    Dim,
    Flow,
    Node,
    Unclear,
)
from conduit_lab.runtime.rows.rules import ALIKE, RANDOM, RECURRENT, RULES, SCALED_TOGETHER, SHAPES

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_MAX_VALUE_ENTRIES = 64  # of a constant that may be a shape, a permutation or a list of axes
_MAX_SHAPE_ENTRIES = 1024  # of a constant that shape inference may need


@dataclass(frozen=True)
class Dataflow:
    """The batch axes of a graph's outputs, and the dependence of its rows.

    `axes` maps each output to its batch axis, or to None without one; outputs with an unclear axis
    are missing. `mixed` is `INDEPENDENT` (proved), `UNCLEAR` or `MIXED`.
    """

    axes: Mapping[str, int | None]
    mixed: int

    @classmethod
    def unclear(cls) -> Dataflow:
        """Return the dataflow of an unknown graph."""
        return cls({}, UNCLEAR)


@graph_reader("rows")
def read_dataflow(model: Any, rows: tuple[tuple[str, int | None], ...]) -> Dataflow:
    """Follow the batch axis of each input, `rows`, through the graph.

    An operator without a rule makes everything that depends on it unclear. Shapes come from ONNX's
    inference alone: the file may declare the shapes of its export example.
    """
    try:
        return _followed(model, dict(rows))
    except Exception:  # protobuf's or onnx's; running a malformed graph reports the reason
        return Dataflow.unclear()


def _followed(model: Any, axes: Mapping[str, int | None]) -> Dataflow:
    """Return the dataflow of a graph; changes `model`."""
    _sort(model.graph)
    shapes = _shapes(model, axes)
    flows = _sources(model, axes, shapes)
    if any(node.op_type in RANDOM | SCALED_TOGETHER for node in _inner(model)):
        return Dataflow({}, MIXED)
    opset = opset_of(model)
    lost = Flow(LOST, None, UNCLEAR)
    for node in model.graph.node:
        inputs = [flows.get(name, lost) if name else None for name in node.input]
        flows.update(_outputs(node, inputs, opset, shapes))
    results = {value.name: flows.get(value.name, lost) for value in model.graph.output}
    known = {
        name: flow.axis
        for name, flow in results.items()
        if flow.axis is None or (flow.axis != LOST and flow.factor == (1, ()))
    }
    mixed = max((flow.mixed for flow in results.values()), default=UNCLEAR)
    return Dataflow(known, mixed if mixed == MIXED or len(known) == len(results) else UNCLEAR)


def _sort(graph: Any) -> None:
    """Sort nodes topologically, as ONNX requires; onnxruntime accepts any order."""
    unsorted, nodes = list(graph.node), []
    pending = {name for node in unsorted for name in node.output}
    while unsorted:
        later = []
        for node in unsorted:  # one pass if they are already sorted
            if pending.isdisjoint(node.input):
                nodes.append(node)
                pending.difference_update(node.output)
            else:
                later.append(node)
        if len(later) == len(unsorted):
            return  # a cycle
        unsorted = later
    del graph.node[:]
    graph.node.extend(nodes)


def _inner(model: Any) -> Iterator[Any]:
    """Yield the nodes of subgraphs and functions, which are not followed."""
    return islice(all_nodes(model), len(model.graph.node), None)  # the graph's own nodes come first


def _shapes(model: Any, axes: Mapping[str, int | None]) -> dict[str, tuple[Dim, ...]]:
    """Return the shapes of tensors, with `ROWS_DIM` as batch axis; changes `model`."""
    import onnx

    constants = {tensor.name for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        if int(np.prod(tensor.dims)) > _MAX_SHAPE_ENTRIES:
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
                tensor.ClearField(field)
    for value in model.graph.input:
        if value.name in constants or not value.type.tensor_type.HasField("shape"):
            continue
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if place == axes.get(value.name):
                dim.dim_param = ROWS_DIM
            elif not dim.HasField("dim_value") and not dim.dim_param:
                dim.dim_param = f"{value.name}/{place}"
    del model.graph.value_info[:]
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
            for dim in value.type.tensor_type.shape.dim
        )
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.tensor_type.HasField("shape")
    }


def _sources(
    model: Any, axes: Mapping[str, int | None], shapes: Mapping[str, tuple[Dim, ...]]
) -> dict[str, Flow]:
    """Return the flows of inputs and constants."""
    flows = {
        value.name: Flow(axes.get(value.name), shape=shapes.get(value.name))
        for value in model.graph.input
    }
    for tensor in model.graph.initializer:
        flows[tensor.name] = _constant(tensor)
    for sparse in model.graph.sparse_initializer:
        flows[sparse.values.name] = Flow(shape=tuple(sparse.dims))
    return flows


def _constant(tensor: Any) -> Flow:
    from onnx import TensorProto, numpy_helper

    dims = tuple(tensor.dims)
    kinds = (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.FLOAT)
    large = int(np.prod(dims)) > _MAX_VALUE_ENTRIES
    if large or tensor.data_type not in kinds or tensor.data_location == TensorProto.EXTERNAL:
        return Flow(shape=dims)
    return Flow(shape=dims, value=tuple(numpy_helper.to_array(tensor).ravel().tolist()))


def _outputs(
    node: Any, inputs: list[Flow | None], opset: int, shapes: Mapping[str, tuple[Dim, ...]]
) -> Iterator[tuple[str, Flow]]:
    """Yield the flow of each output of a node, by name."""
    first = _flow(node, inputs, opset, shapes)
    for place, name in enumerate(node.output):
        flow = first
        if place and first.has_rows and node.op_type not in ALIKE:
            flow = Flow(LOST, None, max(first.mixed, UNCLEAR))
            if node.op_type in RECURRENT and first.axis in (0, 2):
                flow = replace(first, axis=first.axis // 2)
            elif node.op_type == "DynamicQuantizeLinear":
                flow = Flow(None, mixed=MIXED)
        shape = shapes.get(name, None if place else flow.shape)
        if flow.axis == LOST and shape is not None and shape.count(ROWS_DIM) == 1:
            flow = Flow(shape.index(ROWS_DIM), mixed=flow.mixed)  # found by shape inference
        yield name, replace(flow, shape=shape)


def _flow(
    node: Any, inputs: list[Flow | None], opset: int, shapes: Mapping[str, tuple[Dim, ...]]
) -> Flow:
    """Return the flow of the first output."""
    from onnx import helper

    kind = node.op_type
    flows = [flow for flow in inputs if flow is not None]
    mixed = max((flow.mixed for flow in flows), default=INDEPENDENT)
    if kind in RANDOM:
        return Flow(LOST, None, MIXED)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if kind == "Constant":
        tensor = attributes.get("value")
        if hasattr(tensor, "dims"):
            return _constant(tensor)
        given: Any = next(iter(attributes.values()), None)
        return Flow(
            value=dimensions.dim_entries(given),
            shape=np.shape(given) if not isinstance(given, bytes) else (),
        )
    made = node.domain in _DOMAINS and dimensions.fold_sizes(kind, attributes, inputs)
    if made:
        return replace(made, mixed=mixed)
    counted = any(
        flow is not None and flow.counted and place not in SHAPES.get(kind, ())
        for place, flow in enumerate(inputs)
    )
    rowless = not any(flow.has_rows or flow.counted for flow in flows)
    subgraph = any(hasattr(value, "node") for value in attributes.values())  # can read all tensors
    if rowless and not subgraph and node.domain in _DOMAINS:
        return Flow(mixed=mixed)
    lost = Flow(LOST, None, max(mixed, UNCLEAR))
    if counted or subgraph or node.domain not in _DOMAINS or kind not in RULES:
        return lost
    if any(flow.axis == LOST for flow in flows):
        return Flow(LOST, None, MIXED) if kind in SCALED_TOGETHER else lost
    rank = len(shapes.get(node.output[0], ())) or None
    try:
        flow = RULES[kind](Node(kind, attributes, opset, rank), inputs)
    except (Unclear, IndexError, ValueError, TypeError):  # the last three: a malformed graph
        return lost
    return replace(flow, mixed=max(mixed, flow.mixed), value=None, counted=False)
