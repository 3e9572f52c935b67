"""Axes: the rules of operators that keep, reduce, move, cut or insert axes.

A rule takes a node and its inputs and returns the `Flow` of its first output. It claims
independence only where the operator's definition gives it. Sources: the operator definitions of
onnx 1.23 (docs/Operators.md, Operators-ml.md) and of onnxruntime 1.32 (docs/ContribOperators.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from conduit_lab.runtime.rows.flow import (
    COUNTED,
    LOST,
    MIXED,
    ROWS,
    Dim,
    Flow,
    Inputs,
    Node,
    Rule,
    Unclear,
    at,
    axis_of,
    first,
    named_axes,
    ratio,
    size,
    times,
)

# Elementwise


def same(_: Node, inputs: Inputs) -> Flow:
    """Keep the axis of the first input, the only one with rows."""
    return first(inputs)


def broadcast(_: Node, inputs: Inputs) -> Flow:
    """Align the inputs at their last axes, as NumPy does."""
    flows = [flow for flow in inputs if flow is not None]
    rows = [flow for flow in flows if flow.has_rows]
    if len(flows) == 1:
        return flows[0]
    rank = max(flow.rank for flow in flows)
    places = {axis_of(flow) - flow.rank for flow in rows}
    if len(places) > 1:
        return Flow(LOST, None, MIXED)  # one sample's numbers meet another's
    (place,) = places
    for flow in flows:
        if (
            not flow.has_rows
            and flow.shape is not None
            and flow.rank >= -place
            and flow.shape[place] != 1
        ):
            raise Unclear
    if len({flow.factor for flow in rows}) > 1 or (rows[0].factor is None and len(rows) > 1):
        raise Unclear
    return Flow(rank + place, rows[0].factor, shape=(None,) * rank)


# Along an axis


def reduce(node: Node, inputs: Inputs) -> Flow:
    """Reduce over axes; a reduced batch axis is lost and its samples are mixed."""
    flow = first(inputs)
    axes = (node.get("axis", 0),) if node.kind.startswith("Arg") else named_axes(node, inputs)
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return flow
        return Flow(None, mixed=MIXED)
    gone = {at(flow, a) for a in axes}
    if axis_of(flow) in gone:
        return Flow(None, mixed=MIXED)
    if node.get("keepdims", 1):
        return replace(flow, shape=_each(flow, lambda i, dim: 1 if i in gone else dim))
    return _without(flow, gone)


def along(default: int, *, flat_below: int = 0) -> Rule:
    """Compute along one axis; before opset `flat_below`, along it and all after it."""

    def rule(node: Node, inputs: Inputs) -> Flow:
        flow = first(inputs)
        flat = node.opset < flat_below
        axis = at(flow, node.get("axis", 1 if flat else default))
        own = axis_of(flow)
        return replace(flow, mixed=MIXED) if own == axis or (flat and own > axis) else flow

    return rule


def onward(default: int) -> Rule:
    """Normalise over an axis and all after it."""

    def rule(node: Node, inputs: Inputs) -> Flow:
        flow = first(inputs)
        start = node.get("axis", default)
        if start == -1 and flow.axis == 0 and (flow.shape is None or flow.rank > 1):
            # a rank is not always known here, but one axis would leave nothing to normalise
            return flow
        return replace(flow, mixed=MIXED) if axis_of(flow) >= at(flow, start) else flow

    return rule


def cumulative(_: Node, inputs: Inputs) -> Flow:
    """CumSum: along the axis of the second input."""
    flow = first(inputs)
    (axis,) = (inputs[1].value if len(inputs) > 1 and inputs[1] else None) or (None,)
    if not isinstance(axis, int):
        raise Unclear
    return replace(flow, mixed=MIXED) if at(flow, axis) == flow.axis else flow


def top(node: Node, inputs: Inputs) -> Flow:
    """TopK along an axis."""
    flow = first(inputs)
    return _resized(flow, at(flow, node.get("axis", -1)))


def channels(node: Node, inputs: Inputs) -> Flow:
    """BatchNormalization: by the numbers of its training, unless it is training."""
    flow = first(inputs)
    if node.get("training_mode", 0):
        return replace(flow, mixed=MIXED)
    if flow.axis == 1:
        raise Unclear
    return flow


# Moving axes


def transpose(node: Node, inputs: Inputs) -> Flow:
    """Permute the axes."""
    flow = first(inputs)
    order = list(node.get("perm") or reversed(range(flow.rank)))
    shape = None if flow.shape is None else tuple(flow.shape[i] for i in order)
    return replace(flow, axis=order.index(axis_of(flow)), shape=shape)


def squeeze(node: Node, inputs: Inputs) -> Flow:
    """Remove axes of one entry; without names, the batch axis of a single sample too."""
    flow = first(inputs)
    axes = named_axes(node, inputs)
    if axes is None:
        raise Unclear
    gone = {at(flow, a) for a in axes}
    if axis_of(flow) in gone:
        raise Unclear
    return _without(flow, gone)


def unsqueeze(node: Node, inputs: Inputs) -> Flow:
    """Insert axes of one entry."""
    flow = first(inputs)
    axes = named_axes(node, inputs)
    if axes is None:
        raise Unclear
    rank = flow.rank + len(axes)
    new = {a % rank for a in axes}
    old = [i for i in range(rank) if i not in new]
    shape = tuple(1 if i in new else (flow.shape or ())[old.index(i)] for i in range(rank))
    return replace(flow, axis=old[axis_of(flow)], shape=shape)


def flatten(node: Node, inputs: Inputs) -> Flow:
    """Flatten to two axes."""
    flow = first(inputs)
    axis = node.get("axis", 1)
    if flow.axis == 0 and axis == 1:
        return replace(flow, shape=(ROWS if flow.factor == (1, ()) else None, None))
    axis = at(flow, axis)
    if flow.axis != 0 or axis == 0 or flow.shape is None:
        raise Unclear
    return Flow(0, times(flow.factor, size(flow.shape[1:axis])), shape=(None, None))


def reshape(node: Node, inputs: Inputs) -> Flow:
    """Reshape, where each sample stays a block of whole entries of the first axis."""
    flow = inputs[0]
    target = inputs[1].value if len(inputs) > 1 and inputs[1] else node.get("shape")
    if flow is None or not flow.has_rows or target is None or flow.shape is None:
        raise Unclear
    axis, zero_is_kept = axis_of(flow), not node.get("allowzero", 0)
    dims = [
        flow.shape[i] if d == 0 and zero_is_kept and i < flow.rank else d
        for i, d in enumerate(target)
    ]
    if (
        axis > 0
        and len(dims) > axis
        and dims[:axis] == list(flow.shape[:axis])
        and None not in dims[:axis]
    ):
        lead = axis  # the axes before the batch stay
    elif all(dim == 1 for dim in flow.shape[:axis]):
        lead = 0
        while lead < len(dims) - 1 and dims[lead] == 1 and lead < axis:
            lead += 1
    else:
        raise Unclear
    shape = tuple(None if dim in (-1, COUNTED) else dim for dim in dims)
    if target[lead] == 0 and zero_is_kept and lead == axis:
        return replace(flow, shape=shape)
    if dims[lead] == ROWS:
        return Flow(lead, shape=shape)
    if dims[lead] not in (-1, COUNTED):  # the other dimensions give this one
        raise Unclear
    whole = times(flow.factor, size(flow.shape[axis + 1 :]))
    parts = size(dims[lead + 1 :])
    factor = ratio(whole, parts)
    if factor is None and not _tail(dims[lead + 1 :], flow.shape[axis + 1 :]):
        raise Unclear  # an entry could lie in two samples
    return Flow(lead, factor, shape=shape)


def _tail(target: Sequence[Dim], shape: Sequence[Dim]) -> bool:
    """Return whether `shape` ends with the dimensions of `target`, all known."""
    return bool(target) and None not in target and list(shape[-len(target) :]) == list(target)


def concat(node: Node, inputs: Inputs) -> Flow:
    """Concatenate along another axis than the batch."""
    flow = sequence(node, inputs)
    return _resized(flow, at(flow, node.get("axis", 1)))


def sequence(_: Node, inputs: Inputs) -> Flow:
    """SequenceConstruct: arrays with the batch at the same axis."""
    flows = [flow for flow in inputs if flow is not None]
    if len({(flow.axis, flow.factor) for flow in flows}) > 1:
        raise Unclear
    return flows[0]


def split(node: Node, inputs: Inputs) -> Flow:
    """Split along another axis than the batch."""
    flow = first(inputs)
    return _resized(flow, at(flow, node.get("axis", 0)))


def cut(node: Node, inputs: Inputs) -> Flow:
    """Slice along other axes than the batch, or all of it."""
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
        if at(flow, a) != flow.axis:
            continue
        if (
            not starts
            or not ends
            or ends[i] is None
            or (len(inputs) > 4 and inputs[4] and not steps)
        ):
            raise Unclear
        step, end = steps[i] if steps else 1, ends[i]
        to_end = (isinstance(end, int) and end >= 10**9) or (end == ROWS and flow.factor == (1, ()))
        if not (starts[i] == 0 and step == 1 and to_end):
            return Flow(LOST, None, MIXED)
    cuts = {at(flow, a) for a in axes if at(flow, a) != flow.axis}
    return replace(flow, shape=_each(flow, lambda i, dim: None if i in cuts else dim))


def gather(node: Node, inputs: Inputs) -> Flow:
    """Look rows of a constant table up, or pick along another axis than the batch."""
    data, indices = inputs[0], inputs[1]
    if data is None or indices is None:
        raise Unclear
    axis = node.get("axis", 0)
    if not data.has_rows:
        return replace(
            indices, axis=axis_of(indices) + (at(data, axis) if axis else 0), shape=None, value=None
        )
    own = axis_of(data)
    if at(data, axis) == own:
        return Flow(LOST, None, MIXED)
    if indices.has_rows:
        raise Unclear
    return replace(data, axis=own if own < at(data, axis) else own + indices.rank - 1, shape=None)


def gather_elements(node: Node, inputs: Inputs) -> Flow:
    """Pick entries along another axis than the batch."""
    flows = [flow for flow in inputs if flow is not None]
    if len({(flow.axis, flow.factor) for flow in flows}) > 1:
        raise Unclear
    return _resized(flows[0], at(flows[0], node.get("axis", 0)))


def gather_nd(node: Node, inputs: Inputs) -> Flow:
    """Look entries up by index tuples: of a constant table, or of the sample's own."""
    data, indices = inputs[0], inputs[1]
    own = node.get("batch_dims", 0)
    if data is None or indices is None or indices.axis != 0:
        raise Unclear
    if (own == 0 and not data.has_rows) or (
        own >= 1 and data.axis == 0 and data.factor == indices.factor
    ):
        return Flow(0, indices.factor)
    raise Unclear


def expand(_: Node, inputs: Inputs) -> Flow:
    """Broadcast to a shape; a constant may get its rows here."""
    flow, target = inputs[0], inputs[1]
    if flow is None or target is None or target.value is None:
        raise Unclear
    dims = target.value
    rank = max(flow.rank, len(dims))
    if flow.has_rows:
        place = axis_of(flow) - flow.rank
        if len(dims) >= -place and dims[place] not in (1, ROWS):
            raise Unclear
        return replace(flow, axis=rank + place, shape=(None,) * rank)
    return _born(flow, dims, rank)


def tile(_: Node, inputs: Inputs) -> Flow:
    """Repeat along other axes than the batch; a constant may get its rows here."""
    flow, repeats = inputs[0], inputs[1]
    if flow is None or repeats is None or repeats.value is None:
        raise Unclear
    if not flow.has_rows:
        return _born(flow, repeats.value, flow.rank)
    if repeats.value[axis_of(flow)] != 1:
        return Flow(LOST, None, MIXED)
    return replace(flow, shape=(None,) * flow.rank)


def _born(flow: Flow, dims: Sequence[Dim], rank: int) -> Flow:
    """Return a constant that is the same for each of the rows that `dims` name once."""
    if list(dims).count(ROWS) != 1 or COUNTED in dims:
        raise Unclear
    place = list(dims).index(ROWS) - len(dims)
    if flow.shape is not None and len(flow.shape) >= -place and flow.shape[place] != 1:
        raise Unclear
    return Flow(rank + place, shape=(None,) * rank)


def constant_of_shape(_: Node, inputs: Inputs) -> Flow:
    """Fill a shape with one number."""
    target = inputs[0].value if inputs and inputs[0] else None
    if target is None:
        raise Unclear
    return _born(Flow(), target, len(target))


def pad(node: Node, inputs: Inputs) -> Flow:
    """Pad along other axes than the batch."""
    flow = first(inputs)
    pads = node.get("pads")
    if pads is None:
        pads = inputs[1].value if len(inputs) > 1 and inputs[1] else None
    if pads is None:
        raise Unclear
    axes = named_axes(node, inputs, 3) or tuple(range(len(pads) // 2))
    for i, a in enumerate(axes):
        if at(flow, a) == flow.axis and (pads[i], pads[i + len(axes)]) != (0, 0):
            return Flow(LOST, None, MIXED)
    return replace(flow, shape=(None,) * flow.rank)


def one_hot(node: Node, inputs: Inputs) -> Flow:
    """Insert the axis of the classes."""
    flow = first(inputs)
    rank = flow.rank + 1
    new = node.get("axis", -1) % rank
    return replace(flow, axis=axis_of(flow) + (new <= axis_of(flow)), shape=(None,) * rank)


def _each(flow: Flow, dim: Callable[[int, Dim], Dim]) -> tuple[Dim, ...] | None:
    """Return a shape with each of its dimensions changed."""
    return None if flow.shape is None else tuple(dim(i, old) for i, old in enumerate(flow.shape))


def _without(flow: Flow, gone: Collection[int]) -> Flow:
    """Return the flow without some axes, none of them the batch axis."""
    axis = axis_of(flow)
    shape = (
        None
        if flow.shape is None
        else tuple(dim for i, dim in enumerate(flow.shape) if i not in gone)
    )
    return replace(flow, axis=axis - sum(a < axis for a in gone), shape=shape)


def _resized(flow: Flow, axis: int) -> Flow:
    """Return the flow after an axis got another size; samples are mixed if it is the batch axis."""
    if axis == flow.axis:
        return Flow(LOST, None, MIXED)
    return replace(flow, shape=_each(flow, lambda i, dim: None if i == axis else dim))


# All rows together


def lost(_: Node, inputs: Inputs) -> Flow:
    """Mix all: the size or the numbers of the output depend on all samples."""
    return Flow(LOST, None, MIXED)


def scaled(_: Node, inputs: Inputs) -> Flow:
    """Keep the axis and mix all: one scale serves all samples."""
    flow = inputs[0]
    return Flow(LOST, None, MIXED) if flow is None else replace(flow, mixed=MIXED)


def dropout(node: Node, inputs: Inputs) -> Flow:
    """Do nothing, unless it is training."""
    training = inputs[2] if len(inputs) > 2 else None
    flow = first(inputs)
    return flow if training is None or training.value == (0,) else replace(flow, mixed=MIXED)
