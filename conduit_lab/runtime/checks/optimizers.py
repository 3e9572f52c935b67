"""Optimizers of onnxruntime that crash the process on some graphs, found before loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conduit_lab.runtime.checks.nodes import all_nodes, all_tensors, bodies, subgraphs

TRANSPOSE_FUSION = "MatmulTransposeFusion"

Perm = tuple[int, ...]

_PRODUCTS = ("MatMul", "FusedMatMul", "TransposeMatMul")
_CASTS = ("Cast", "CastLike")
# Nodes that onnxruntime removes or merges with a neighbour before the fusion
_TRANSPARENT = frozenset(
    (
        *(*_CASTS, "Transpose", "Identity", "Dropout"),
        *("Mul", "Div", "Add", "Sub", "Sum", "Max", "Min"),
        *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Slice", "Pad", "Concat"),
        *("QuantizeLinear", "DequantizeLinear"),
    )
)
# onnxruntime moves a Transpose past all other nodes to merge it with a second one
_OPAQUE = frozenset(
    (*_PRODUCTS, "Gemm", "Conv", "ConvTranspose", "Einsum", "Gather", "Reshape", "Flatten")
)
_HALF = (10, 16)  # TensorProto.FLOAT16 and BFLOAT16


def unsafe(model: Any) -> tuple[str, ...]:
    """Return the optimizers to disable for a model.

    MatmulTransposeFusion of onnxruntime 1.32 crashes the process if a Transpose that moves the
    first axis to the last two, [1, 0, 2] or [1, 2, 0], reaches a matrix product of another rank
    through a Cast. The CPU provider inserts Casts of its own around 16-bit floats.
    """
    if model.functions:  # inlined by onnxruntime only after loading, so any Transpose counts
        found = any(
            node.op_type == "Transpose" and _moves_first(_perm(node)) for node in all_nodes(model)
        )
    else:
        found = _reaches(model.graph, {}, _has_half(model))
    return (TRANSPOSE_FUSION,) if found else ()


def _reaches(graph: Any, outer: Mapping[str, Any], half: bool) -> bool:
    """Return whether such a Transpose reaches a product in a graph or in its subgraphs."""
    makers = {**outer, **{name: node for node in graph.node for name in node.output}}
    factors = [name for node in graph.node if node.op_type in _PRODUCTS for name in node.input]
    return _comes_from_one(factors, makers, half) or any(
        _reaches(inner, makers, half) for node in graph.node for inner in subgraphs(node)
    )


def _comes_from_one(names: Sequence[str], makers: Mapping[str, Any], half: bool) -> bool:
    """Return whether a value comes from such a Transpose through a Cast; any path with `half`."""
    pending: list[tuple[str, bool, Perm | None]] = [(name, half, None) for name in names]
    seen = set()
    while pending:
        state = pending.pop()
        name, cast, after = state
        node = makers.get(name)
        if state in seen or node is None:
            continue
        if node.op_type in _OPAQUE if after is not None else node.op_type not in _TRANSPARENT:
            continue
        seen.add(state)
        cast = cast or node.op_type in _CASTS
        if node.op_type == "Transpose":
            own = _perm(node)
            other_rank = after is not None and own and after and len(own) != len(after)
            after = own if after is None or other_rank else _merged(own, after)
            if cast and (other_rank or _moves_first(own) or _moves_first(after)):
                return True
        pending += [(above, cast, after) for above in node.input]
    return False


def _perm(node: Any) -> Perm:
    """Return the permutation of a Transpose; empty if it reverses all axes."""
    return next(
        (tuple(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), ()
    )


def _merged(first: Perm, then: Perm) -> Perm:
    """Return the permutation of two Transposes in a row, as onnxruntime merges them."""
    rank = len(first or then)
    first, then = (perm or tuple(reversed(range(rank))) for perm in (first, then))
    return tuple(first[axis] if 0 <= axis < rank else axis for axis in then)


def _moves_first(perm: Perm) -> bool:
    """Return whether a permutation puts the first axis last, or last but one."""
    last = len(perm) - 1
    return last >= 2 and perm in ((*range(1, last), 0, last), (*range(1, last + 1), 0))


def _has_half(model: Any) -> bool:
    """Return whether a model has a 16-bit float anywhere, or a sequence that may hold one."""
    values = [
        value
        for body in bodies(model)
        for value in (*body.value_info, *getattr(body, "input", ()), *getattr(body, "output", ()))
    ]
    return (
        any(tensor.data_type in _HALF for tensor in all_tensors(model))
        or any(value.type.WhichOneof("value") not in ("tensor_type", None) for value in values)
        or any(value.type.tensor_type.elem_type in _HALF for value in values)
        or any(
            attribute.i in _HALF and (attribute.name == "to" or attribute.name.endswith("type"))
            for node in all_nodes(model)
            for attribute in node.attribute
        )
    )
