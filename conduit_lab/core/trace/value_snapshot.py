"""snapshot: preserve a value, even if its owner changes it later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conduit_lab.core.spec import Array

IMMUTABLE = frozenset({str, bytes, int, float, complex, bool, type(None)})

_MAX_DEPTH = 20  # of containers; deeper ones are not copied


def snapshot(value: Any, depth: int = 0) -> Any:
    """Return `value` if it is immutable, or else a copy of it.

    Arrays and built-in containers are copied. Any other object is returned as is, since only its
    class knows how to copy it.
    """
    copy = COPIES.get(type(value))
    return value if copy is None or depth > _MAX_DEPTH else copy(value, depth)


def _array(value: Array, depth: int) -> Array:
    if value.flags.writeable:
        return value.copy()
    array: Any = value.base
    while isinstance(array, np.ndarray):  # a read-only view of a writable array may change
        if array.flags.writeable:
            return value.copy()
        array = array.base
    return value if array is None else value.copy()


def _list(value: list[Any], depth: int) -> list[Any]:
    return [item if type(item) in IMMUTABLE else snapshot(item, depth + 1) for item in value]


def _tuple(value: tuple[Any, ...], depth: int) -> tuple[Any, ...]:
    return tuple(_list(list(value), depth))


def _dict(value: dict[Any, Any], depth: int) -> dict[Any, Any]:
    return {
        key: item if type(item) in IMMUTABLE else snapshot(item, depth + 1)
        for key, item in list(value.items())  # copied first, as another thread may write
    }


def _set(value: set[Any], depth: int) -> set[Any]:
    return set(value)


def _bytearray(value: bytearray, depth: int) -> bytearray:
    return bytearray(value)


COPIES: dict[type, Callable[[Any, int], Any]] = {
    np.ndarray: _array,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set,
    bytearray: _bytearray,
}
