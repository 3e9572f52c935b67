"""Dataflow: where an ONNX graph has its batch axis, and whether its rows are independent of each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.runtime.checks.content import FileIdentity
from conduit_lab.runtime.checks.nodes import all_nodes
from conduit_lab.runtime.rows import dimensions
from conduit_lab.runtime.rows.flow import (
    INDEPENDENT,
    LOST,
    MIXED,
    ROWS,
    UNCLEAR,
    Dim,
    Flow,
    Node,
    Unclear,
)
from conduit_lab.runtime.rows.rules import ALIKE, RANDOM, RECURRENT, RULES, SCALED_TOGETHER, SHAPES

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_SMALL = 64  # entries of a constant that may be a shape, a permutation or a list of axes
_LARGE = 1024  # entries of a constant that shape inference does not need


@dataclass(frozen=True)
class Dataflow:
    """What a graph does with the rows of a batch.

    `axes` has the batch axis of each output by name: None for an output without one; an output
    whose axis is unclear is not in it. `mixed` says how the rows depend on each other:
    `INDEPENDENT` (proved), `UNCLEAR`, or `MIXED`.
    """

    axes: Mapping[str, int | None]
    mixed: int

    @classmethod
    def unclear(cls) -> Dataflow:
        """Return the dataflow of a graph of which nothing is known."""
        return cls({}, UNCLEAR)


@lru_cache(maxsize=64)
def read(path: Path, _: FileIdentity, rows: tuple[tuple[str, int | None], ...]) -> Dataflow:
    """Follow the batch axis of each input, `rows`, through the graph, once for each state of the
    file.

    Every operator whose rule is unknown makes what depends on it unclear. Shapes are ONNX's own
    inference, without the shapes that the file declares, which may be those of the example it was
    exported with.
    """
    import onnx

    try:
        return _followed(onnx.load(str(path), load_external_data=False), dict(rows))
    except Exception:  # protobuf's and onnx's own, or a graph that does not fit its operators: it runs, or says why not
        return Dataflow.unclear()


def _followed(model: Any, axes: Mapping[str, int | None]) -> Dataflow:
    """Return the dataflow of a graph; changes `model`."""
    _sort(model.graph)
    shapes = _shapes(model, axes)
    flows = _sources(model, axes, shapes)
    if any(node.op_type in RANDOM | SCALED_TOGETHER for node in _inner(model)):
        return Dataflow({}, MIXED)
    opset = max(
        (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        default=0,
    )
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
    """Put each node after those whose outputs it takes, as ONNX asks for; onnxruntime takes any order."""
    waiting, nodes = list(graph.node), []
    pending = {name for node in waiting for name in node.output}
    while waiting:
        later = []
        for node in waiting:  # one round where they are sorted
            if pending.isdisjoint(node.input):
                nodes.append(node)
                pending.difference_update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            return  # a circle
        waiting = later
    del graph.node[:]
    graph.node.extend(nodes)


def _inner(model: Any) -> Iterator[Any]:
    """Yield the nodes of graphs inside of nodes and of functions, which are not followed."""
    return islice(all_nodes(model), len(model.graph.node), None)  # its own nodes come first


def _shapes(model: Any, axes: Mapping[str, int | None]) -> dict[str, tuple[Dim, ...]]:
    """Return the shapes of tensors, with the batch axis named `ROWS`; changes `model`."""
    import onnx

    constants = {tensor.name for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        if int(np.prod(tensor.dims)) > _LARGE:
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
                tensor.ClearField(field)
    for value in model.graph.input:
        if value.name in constants or not value.type.tensor_type.HasField("shape"):
            continue
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if place == axes.get(value.name):
                dim.dim_param = ROWS
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
    whole = tensor.data_type in (
        TensorProto.INT64,
        TensorProto.INT32,
        TensorProto.BOOL,
        TensorProto.FLOAT,
    )
    if not whole or int(np.prod(dims)) > _SMALL or tensor.data_location == TensorProto.EXTERNAL:
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
        if flow.axis == LOST and shape is not None and shape.count(ROWS) == 1:
            flow = Flow(
                shape.index(ROWS), mixed=flow.mixed
            )  # not by its operator, but shape inference knows it
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
            value=dimensions.entries(given),
            shape=np.shape(given) if not isinstance(given, bytes) else (),
        )
    made = node.domain in _DOMAINS and dimensions.value(kind, attributes, inputs)
    if made:
        return replace(made, mixed=mixed)
    counted = any(
        flow is not None and flow.counted and place not in SHAPES.get(kind, ())
        for place, flow in enumerate(inputs)
    )
    rowless = not any(flow.has_rows or flow.counted for flow in flows)
    inner = any(
        hasattr(value, "node") for value in attributes.values()
    )  # a graph, which sees all tensors around it
    if rowless and not inner and node.domain in _DOMAINS:
        return Flow(mixed=mixed)
    lost = Flow(LOST, None, max(mixed, UNCLEAR))
    if counted or inner or node.domain not in _DOMAINS or kind not in RULES:
        return lost
    if any(flow.axis == LOST for flow in flows):
        return lost if kind not in SCALED_TOGETHER else Flow(LOST, None, MIXED)
    try:
        flow = RULES[kind](
            Node(kind, attributes, opset, len(shapes.get(node.output[0], ())) or None), inputs
        )
    except (
        Unclear,
        IndexError,
        ValueError,
        TypeError,
    ):  # the last three: a graph that does not fit its operators
        return lost
    return replace(flow, mixed=max(mixed, flow.mixed), value=None, counted=False)
