"""Dimensions: constant folding of the sizes that a graph computes from shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from conduit_lab.runtime.rows.flow import COUNTED_DIM, LOST, ROWS_DIM, Dim, Flow

Value = tuple[Dim, ...]
_MAX_ENTRIES = 64  # of a tensor that may be a shape, a permutation or a list of axes


def dim_entries(value: Any) -> Value | None:
    """Return the integers of an attribute, or None for a large or non-integer one."""
    array = np.asarray(value)
    if array.dtype.kind not in "ib" or array.size > _MAX_ENTRIES:
        return None
    return tuple(array.ravel().tolist())


def fold_sizes(
    kind: str, attributes: Mapping[str, Any], inputs: Sequence[Flow | None]
) -> Flow | None:
    """Return the flow of a small tensor computed from shapes, or None for any other."""
    first = inputs[0] if inputs else None
    if kind == "Shape" and first is not None:
        return _shape(first, attributes)
    if kind == "Size" and first is not None:
        return Flow(
            shape=(), value=(COUNTED_DIM if first.has_rows else None,), counted=first.has_rows
        )
    flows = [flow for flow in inputs if flow is not None]
    if not flows or any(
        flow.has_rows or flow.value is None or flow.shape is None for flow in flows
    ):
        return None
    try:
        made = _computed(kind, attributes, inputs)
    except (IndexError, ValueError, TypeError, ZeroDivisionError):
        return None
    if made is None:
        return None
    made = np.asarray(made, object)
    if made.size > _MAX_ENTRIES:
        return None
    items = tuple(made.ravel().tolist())
    return Flow(
        shape=made.shape,
        value=items,
        counted=any(item in (ROWS_DIM, COUNTED_DIM) for item in items),
    )


def _shape(flow: Flow, attributes: Mapping[str, Any]) -> Flow:
    """Return the flow of a Shape node's output."""
    if flow.shape is None:
        return Flow(counted=flow.has_rows or flow.counted)
    dims: list[Dim] = [None if dim == ROWS_DIM else dim for dim in flow.shape]
    if flow.axis == LOST or flow.counted:
        dims = [dim if isinstance(dim, int) else COUNTED_DIM for dim in dims]
    elif flow.axis is not None:
        dims[flow.axis] = ROWS_DIM if flow.factor == (1, ()) else COUNTED_DIM
    dims = dims[attributes.get("start", 0) : attributes.get("end", len(dims))]
    return Flow(
        shape=(len(dims),),
        value=tuple(dims),
        counted=any(dim in (ROWS_DIM, COUNTED_DIM) for dim in dims),
    )


def _array(flow: Flow | None) -> Any:
    """Return the known entries as an array of objects."""
    if flow is None or flow.value is None or flow.shape is None:
        raise ValueError
    array = np.empty(len(flow.value), object)
    array[:] = flow.value
    return array.reshape([dim if isinstance(dim, int) else len(flow.value) for dim in flow.shape])


def _axes(attributes: Mapping[str, Any], inputs: Sequence[Flow | None]) -> Any:
    given = attributes.get("axes")
    return list(given) if given is not None else [int(a) for a in _array(inputs[1]).ravel()]


def _computed(kind: str, attributes: Mapping[str, Any], inputs: Sequence[Flow | None]) -> Any:
    """Return the entries that an operator computes, or None for an unsupported operator."""
    array = _array(inputs[0])
    if kind in ("Identity", "Cast"):
        return array  # a Cast truncates, as a Floor before it does
    if kind == "Gather":
        return np.take(array, _array(inputs[1]).astype(np.int64), axis=attributes.get("axis", 0))
    if kind == "Concat":
        return np.concatenate([_array(flow) for flow in inputs], axis=attributes["axis"])
    if kind == "Unsqueeze":
        return np.expand_dims(array, tuple(_axes(attributes, inputs)))
    if kind == "Squeeze":
        return array.reshape(()) if array.size == 1 else None
    if kind == "Reshape":
        return array.reshape([int(n) for n in _array(inputs[1])])
    if kind == "Slice" and array.ndim == 1:
        if "starts" in attributes:
            start, end, step = attributes["starts"][0], attributes["ends"][0], 1
        else:
            start, end = (int(_array(flow).item()) for flow in inputs[1:3])
            step = int(_array(inputs[4]).item()) if len(inputs) > 4 else 1
        return array[slice(start, end, step)]
    if kind == "ReduceProd":
        return np.array(_reduced(array.ravel()), object)
    if kind == "Where":
        if not all(isinstance(item, int) for item in array.ravel()):
            return None
        return np.frompyfunc(lambda c, a, b: a if c else b, 3, 1)(*map(_array, inputs))
    if kind in _ARITHMETIC and len(inputs) == 2:
        return np.frompyfunc(_pair(_ARITHMETIC[kind]), 2, 1)(array, _array(inputs[1]))
    return None


_ARITHMETIC: dict[str, Callable[[int, int], Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a // b,
    "Mod": lambda a, b: a % b,
    "Max": max,
    "Min": min,
    "Equal": lambda a, b: a == b,
}


def _pair(compute: Callable[[int, int], Any]) -> Callable[[Dim, Dim], Dim]:
    """Return arithmetic on entries, which may be names instead of numbers."""

    def both(a: Dim, b: Dim) -> Dim:
        if isinstance(a, int) and isinstance(b, int):
            return int(compute(a, b))
        if compute is _ARITHMETIC["Equal"] and -1 in (a, b):
            return 0  # sizes are not negative
        if compute is _ARITHMETIC["Mul"] and 1 in (a, b):
            return b if a == 1 else a
        return COUNTED_DIM if {a, b} & {ROWS_DIM, COUNTED_DIM} else None

    return both


def _reduced(items: Sequence[Dim]) -> Dim:
    if any(item in (ROWS_DIM, COUNTED_DIM) for item in items):
        return COUNTED_DIM
    return math.prod(item for item in items if isinstance(item, int)) if None not in items else None
