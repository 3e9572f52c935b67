"""Array views: find the named array whose memory another array shares, and the offset."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from conduit_lab.export.namespace import Namespace
from conduit_lab.export.statement import Statement

_SMALL_BYTES = 2**20
_MAX_RATIO = 2  # a small part of a large array becomes its own file
_SLICING = (
    ast.Subscript, ast.Name, ast.Slice, ast.Tuple, ast.Constant, ast.UnaryOp, ast.USub, ast.Load,
)  # fmt: skip


def owner_of(array: Any, namespace: Namespace) -> str | None:
    """Return the name of the array that `array` is a view of, or None.

    Of several candidates, choose the largest, then the first. An array much larger than its view
    counts only if code names it: otherwise the export would hold unused bytes.
    """
    root = _root(array)
    found = [
        (-each.nbytes, _order(name, namespace), name)
        for name, each in list(namespace.names.items())
        if type(each) is np.ndarray and not name.startswith("_") and _root(each) is root
    ]
    if not found:
        return None
    *_, name = min(found)
    owner = namespace.names[name]
    is_near = owner.nbytes <= max(_SMALL_BYTES, _MAX_RATIO * array.nbytes)
    is_near = is_near or namespace.is_used(owner)
    is_owner = owner is not array and owner.flags.c_contiguous and _contains(owner, array)
    return name if is_near and is_owner else None


def gives_view(statement: Statement | None, owner: str, name: str, array: Any, base: Any) -> bool:
    """Return whether a statement creates exactly this view by slicing its owner."""
    if statement is None or not statement.binds_only(name) or statement.assigned is None:
        return False
    node = statement.assigned
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    if not all(isinstance(part, _SLICING) for part in ast.walk(node)) or names != {owner}:
        return False
    try:
        made = eval(compile(ast.Expression(node), "<export>", "eval"), {owner: base})
    except Exception:  # an index that is now out of range
        return False
    return type(made) is np.ndarray and _layout(made) == _layout(array)


def offset_in(owner: Any, array: Any) -> int:
    """Return the offset of a view's first item from that of its owner, in bytes."""
    return _address(array) - _address(owner)


def _root(array: Any) -> Any:
    while type(array.base) is np.ndarray:
        array = array.base
    return array


def _order(name: str, namespace: Namespace) -> int:
    made = namespace.statements.maker(name)
    return -1 if made is None else made.order


def _contains(owner: Any, array: Any) -> bool:
    (low, high), (first, last) = byte_bounds(owner), byte_bounds(array)
    return bool(low <= first and last <= high)


def _layout(array: Any) -> tuple[Any, ...]:
    return _address(array), array.shape, array.strides, array.dtype, array.flags.writeable


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])
