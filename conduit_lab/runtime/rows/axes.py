"""Axes: the rules of operators that keep, reduce, move, insert or merge axes.

A rule takes a node and its inputs and returns the `Flow` of its first output. It claims
independence only where the operator's definition implies it. Sources: the operator definitions of
onnx 1.23 (docs/Operators.md, Operators-ml.md) and of onnxruntime 1.32 (docs/ContribOperators.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from conduit_lab.runtime.rows.flow import (
    COUNTED_DIM,
    LOST,
    MIXED,
    ROWS_DIM,
    Dim,
    Flow,
    InputFlows,
    Node,
    Rule,
    Unclear,
    batch_axis,
    divide_sizes,
    first,
    from_front,
    multiply_sizes,
    named_axes,
    size_of,
)

# Elementwise


def same(_: Node, inputs: InputFlows) -> Flow:
    """Keep the axis of the first input, the only input with a batch axis."""
    return first(inputs)


def broadcast(_: Node, inputs: InputFlows) -> Flow:
    """Align the inputs at their last axes, as NumPy does."""
    flows = [flow for flow in inputs if flow is not None]
    rows = [flow for flow in flows if flow.has_rows]
    if len(flows) == 1:
        return flows[0]
    rank = max(flow.rank for flow in flows)
    places = {batch_axis(flow) - flow.rank for flow in rows}
    if len(places) > 1:
        return Flow(LOST, None, MIXED)  # combines numbers of different samples
    (place,) = places
    for flow in flows:
        if flow.has_rows or flow.shape is None or flow.rank < -place:
            continue
        if flow.shape[place] != 1:
            raise Unclear
    if len({flow.factor for flow in rows}) > 1 or (rows[0].factor is None and len(rows) > 1):
        raise Unclear
    return Flow(rank + place, rows[0].factor, shape=(None,) * rank)


# Along an axis


def reduce(node: Node, inputs: InputFlows) -> Flow:
    """Reduce over axes; reducing the batch axis mixes samples."""
    flow = first(inputs)
    axes = (node.get("axis", 0),) if node.kind.startswith("Arg") else named_axes(node, inputs)
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return flow
        return Flow(None, mixed=MIXED)
    gone = {from_front(flow, a) for a in axes}
    if batch_axis(flow) in gone:
        return Flow(None, mixed=MIXED)
    if node.get("keepdims", 1):
        return flow.with_dims(lambda i, dim: 1 if i in gone else dim)
    return flow.without(gone)


def along_axis(default: int, *, flat_below: int = 0) -> Rule:
    """Compute along one axis; before opset `flat_below`, along it and all later axes."""

    def rule(node: Node, inputs: InputFlows) -> Flow:
        flow = first(inputs)
        flat = node.opset < flat_below
        axis = from_front(flow, node.get("axis", 1 if flat else default))
        own = batch_axis(flow)
        return replace(flow, mixed=MIXED) if own == axis or (flat and own > axis) else flow

    return rule


def onward(default: int) -> Rule:
    """Normalize over an axis and all later axes."""

    def rule(node: Node, inputs: InputFlows) -> Flow:
        flow = first(inputs)
        start = node.get("axis", default)
        # a tensor of unknown rank has several axes: a single one would leave nothing to normalize
        if start == -1 and flow.axis == 0 and (flow.shape is None or flow.rank > 1):
            return flow
        return replace(flow, mixed=MIXED) if batch_axis(flow) >= from_front(flow, start) else flow

    return rule


def cumulative(_: Node, inputs: InputFlows) -> Flow:
    """Sum cumulatively along the axis that the second input gives."""
    flow = first(inputs)
    (axis,) = (inputs[1].value if len(inputs) > 1 and inputs[1] else None) or (None,)
    if not isinstance(axis, int):
        raise Unclear
    return replace(flow, mixed=MIXED) if from_front(flow, axis) == flow.axis else flow


def batch_norm(node: Node, inputs: InputFlows) -> Flow:
    """Normalize channels by constants, or in training mode by the batch's own statistics."""
    flow = first(inputs)
    if node.get("training_mode", 0):
        return replace(flow, mixed=MIXED)
    if flow.axis == 1:
        raise Unclear
    return flow


# Moving axes


def transpose(node: Node, inputs: InputFlows) -> Flow:
    """Permute the axes."""
    flow = first(inputs)
    order = list(node.get("perm") or reversed(range(flow.rank)))
    shape = None if flow.shape is None else tuple(flow.shape[i] for i in order)
    return replace(flow, axis=order.index(batch_axis(flow)), shape=shape)


def squeeze(node: Node, inputs: InputFlows) -> Flow:
    """Remove axes of length 1; without explicit axes possibly the batch axis of one sample."""
    flow = first(inputs)
    axes = named_axes(node, inputs)
    if axes is None:
        raise Unclear
    gone = {from_front(flow, a) for a in axes}
    if batch_axis(flow) in gone:
        raise Unclear
    return flow.without(gone)


def unsqueeze(node: Node, inputs: InputFlows) -> Flow:
    """Insert axes of length 1."""
    flow = first(inputs)
    axes = named_axes(node, inputs)
    if axes is None:
        raise Unclear
    rank = flow.rank + len(axes)
    new = {a % rank for a in axes}
    old = [i for i in range(rank) if i not in new]
    shape = tuple(1 if i in new else (flow.shape or ())[old.index(i)] for i in range(rank))
    return replace(flow, axis=old[batch_axis(flow)], shape=shape)


def flatten(node: Node, inputs: InputFlows) -> Flow:
    """Flatten to two axes."""
    flow = first(inputs)
    axis = node.get("axis", 1)
    if flow.axis == 0 and axis == 1:
        return replace(flow, shape=(ROWS_DIM if flow.factor == (1, ()) else None, None))
    axis = from_front(flow, axis)
    if flow.axis != 0 or axis == 0 or flow.shape is None:
        raise Unclear
    return Flow(0, multiply_sizes(flow.factor, size_of(flow.shape[1:axis])), shape=(None, None))


def reshape(node: Node, inputs: InputFlows) -> Flow:
    """Reshape, where each sample stays a whole number of entries of the leading axis."""
    flow = inputs[0]
    target = inputs[1].value if len(inputs) > 1 and inputs[1] else node.get("shape")
    if flow is None or not flow.has_rows or target is None or flow.shape is None:
        raise Unclear
    axis, zero_keeps = batch_axis(flow), not node.get("allowzero", 0)
    dims = [
        flow.shape[i] if d == 0 and zero_keeps and i < flow.rank else d
        for i, d in enumerate(target)
    ]
    before = list(flow.shape[:axis])
    if axis > 0 and len(dims) > axis and dims[:axis] == before and None not in before:
        lead = axis  # the axes before the batch stay
    elif all(dim == 1 for dim in before):
        lead = 0
        while lead < len(dims) - 1 and dims[lead] == 1 and lead < axis:
            lead += 1
    else:
        raise Unclear
    shape = tuple(None if dim in (-1, COUNTED_DIM) else dim for dim in dims)
    if target[lead] == 0 and zero_keeps and lead == axis:
        return replace(flow, shape=shape)
    if dims[lead] == ROWS_DIM:
        return Flow(lead, shape=shape)
    if dims[lead] not in (-1, COUNTED_DIM):  # fixed by the other dimensions
        raise Unclear
    whole = multiply_sizes(flow.factor, size_of(flow.shape[axis + 1 :]))
    parts = size_of(dims[lead + 1 :])
    factor = divide_sizes(whole, parts)
    if factor is None and not _tail(dims[lead + 1 :], flow.shape[axis + 1 :]):
        raise Unclear  # an entry could span two samples
    return Flow(lead, factor, shape=shape)


def _tail(target: Sequence[Dim], shape: Sequence[Dim]) -> bool:
    """Return whether `shape` ends with `target` and all of `target` is known."""
    return bool(target) and None not in target and list(shape[-len(target) :]) == list(target)


# All samples together


def lost(_: Node, inputs: InputFlows) -> Flow:
    """Mix all samples: the size or the numbers of the output depend on all of them."""
    return Flow(LOST, None, MIXED)


def scaled(_: Node, inputs: InputFlows) -> Flow:
    """Keep the axis and mix all samples: they share one scale."""
    flow = inputs[0]
    return Flow(LOST, None, MIXED) if flow is None else replace(flow, mixed=MIXED)


def dropout(node: Node, inputs: InputFlows) -> Flow:
    """Pass the input on, except in training mode."""
    training = inputs[2] if len(inputs) > 2 else None
    flow = first(inputs)
    return flow if training is None or training.value == (0,) else replace(flow, mixed=MIXED)
