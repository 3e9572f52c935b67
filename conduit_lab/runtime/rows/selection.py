"""Selection: the rules of operators that select, join, repeat or pad entries.

Rules and sources are described in `axes`.
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
    Unclear,
    batch_axis,
    first,
    from_front,
    named_axes,
)


def concat(node: Node, inputs: InputFlows) -> Flow:
    """Concatenate along another axis than the batch axis."""
    flow = construct_sequence(node, inputs)
    return flow.resized(from_front(flow, node.get("axis", 1)))


def construct_sequence(_: Node, inputs: InputFlows) -> Flow:
    """Collect arrays with the same batch axis."""
    flows = [flow for flow in inputs if flow is not None]
    if len({(flow.axis, flow.factor) for flow in flows}) > 1:
        raise Unclear
    return flows[0]


def top_k(node: Node, inputs: InputFlows) -> Flow:
    """Select the largest entries along an axis."""
    flow = first(inputs)
    return flow.resized(from_front(flow, node.get("axis", -1)))


def split(node: Node, inputs: InputFlows) -> Flow:
    """Split along another axis than the batch axis."""
    flow = first(inputs)
    return flow.resized(from_front(flow, node.get("axis", 0)))


def slice_axes(node: Node, inputs: InputFlows) -> Flow:
    """Slice along other axes than the batch axis, or keep all of it."""
    flow = first(inputs)
    starts, ends = node.get("starts"), node.get("ends")
    if starts is None:
        bounds = [inputs[i] if len(inputs) > i else None for i in (1, 2)]
        starts, ends = (None if bound is None else bound.value for bound in bounds)
    axes = named_axes(node, inputs, 3)
    if axes is None:
        if starts is None:
            raise Unclear
        axes = tuple(range(len(starts)))
    steps = inputs[4].value if len(inputs) > 4 and inputs[4] else None
    for i, a in enumerate(axes):
        if from_front(flow, a) != flow.axis:
            continue
        unknown_steps = len(inputs) > 4 and inputs[4] and not steps
        if not starts or not ends or ends[i] is None or unknown_steps:
            raise Unclear
        step, end = steps[i] if steps else 1, ends[i]
        to_end = (isinstance(end, int) and end >= 10**9) or (
            end == ROWS_DIM and flow.factor == (1, ())
        )
        if not (starts[i] == 0 and step == 1 and to_end):
            return Flow(LOST, None, MIXED)
    cuts = {from_front(flow, a) for a in axes if from_front(flow, a) != flow.axis}
    return flow.with_dims(lambda i, dim: None if i in cuts else dim)


def gather(node: Node, inputs: InputFlows) -> Flow:
    """Look up rows of a constant table, or select along another axis than the batch axis."""
    data, indices = inputs[0], inputs[1]
    if data is None or indices is None:
        raise Unclear
    axis = node.get("axis", 0)
    if not data.has_rows:
        offset = from_front(data, axis) if axis else 0
        return replace(indices, axis=batch_axis(indices) + offset, shape=None, value=None)
    own = batch_axis(data)
    if from_front(data, axis) == own:
        return Flow(LOST, None, MIXED)
    if indices.has_rows:
        raise Unclear
    return replace(
        data, axis=own if own < from_front(data, axis) else own + indices.rank - 1, shape=None
    )


def gather_elements(node: Node, inputs: InputFlows) -> Flow:
    """Select entries along another axis than the batch axis."""
    flows = [flow for flow in inputs if flow is not None]
    if len({(flow.axis, flow.factor) for flow in flows}) > 1:
        raise Unclear
    return flows[0].resized(from_front(flows[0], node.get("axis", 0)))


def gather_nd(node: Node, inputs: InputFlows) -> Flow:
    """Look up entries by index tuples, in a constant table or within each sample."""
    data, indices = inputs[0], inputs[1]
    own = node.get("batch_dims", 0)
    if data is None or indices is None or indices.axis != 0:
        raise Unclear
    by_table = own == 0 and not data.has_rows
    by_sample = own >= 1 and data.axis == 0 and data.factor == indices.factor
    if not (by_table or by_sample):
        raise Unclear
    return Flow(0, indices.factor)


def expand(_: Node, inputs: InputFlows) -> Flow:
    """Broadcast to a shape; a constant can gain a batch axis."""
    flow, target = inputs[0], inputs[1]
    if flow is None or target is None or target.value is None:
        raise Unclear
    dims = target.value
    rank = max(flow.rank, len(dims))
    if flow.has_rows:
        place = batch_axis(flow) - flow.rank
        if len(dims) >= -place and dims[place] not in (1, ROWS_DIM):
            raise Unclear
        return replace(flow, axis=rank + place, shape=(None,) * rank)
    return _with_rows(flow, dims, rank)


def tile(_: Node, inputs: InputFlows) -> Flow:
    """Repeat along other axes than the batch axis; a constant can gain a batch axis."""
    flow, repeats = inputs[0], inputs[1]
    if flow is None or repeats is None or repeats.value is None:
        raise Unclear
    if not flow.has_rows:
        return _with_rows(flow, repeats.value, flow.rank)
    if repeats.value[batch_axis(flow)] != 1:
        return Flow(LOST, None, MIXED)
    return replace(flow, shape=(None,) * flow.rank)


def _with_rows(flow: Flow, dims: Sequence[Dim], rank: int) -> Flow:
    """Return a constant repeated for each row; exactly one of `dims` is the batch axis."""
    if list(dims).count(ROWS_DIM) != 1 or COUNTED_DIM in dims:
        raise Unclear
    place = list(dims).index(ROWS_DIM) - len(dims)
    if flow.shape is not None and len(flow.shape) >= -place and flow.shape[place] != 1:
        raise Unclear
    return Flow(rank + place, shape=(None,) * rank)


def constant_of_shape(_: Node, inputs: InputFlows) -> Flow:
    """Fill a shape with a constant."""
    target = inputs[0].value if inputs and inputs[0] else None
    if target is None:
        raise Unclear
    return _with_rows(Flow(), target, len(target))


def pad_axes(node: Node, inputs: InputFlows) -> Flow:
    """Pad along other axes than the batch axis."""
    flow = first(inputs)
    pads = node.get("pads")
    if pads is None:
        pads = inputs[1].value if len(inputs) > 1 and inputs[1] else None
    if pads is None:
        raise Unclear
    axes = named_axes(node, inputs, 3) or tuple(range(len(pads) // 2))
    for i, a in enumerate(axes):
        if from_front(flow, a) == flow.axis and (pads[i], pads[i + len(axes)]) != (0, 0):
            return Flow(LOST, None, MIXED)
    return replace(flow, shape=(None,) * flow.rank)


def one_hot(node: Node, inputs: InputFlows) -> Flow:
    """Insert an axis for the classes."""
    flow = first(inputs)
    rank = flow.rank + 1
    new = node.get("axis", -1) % rank
    return replace(flow, axis=batch_axis(flow) + (new <= batch_axis(flow)), shape=(None,) * rank)
