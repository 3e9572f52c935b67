"""weight: the approximate size of a value in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import attrgetter
from sys import getsizeof
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

PLAIN = frozenset({str, int, float, bool, type(None)})

_MAX_VISITS = 1000  # objects per value, so that weighing takes at most about a millisecond
_SAMPLE_ITEMS = 64  # of a long container, evenly spaced, to extrapolate from
_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)
_TEXTS = (str, bytes)  # tuples, as a union would be built at each use
_CONTAINERS = (list, tuple, set, frozenset, deque)
# common types, each weighed by a single call
_QUICK: dict[type, Callable[[Any], int]] = {
    str: len,
    bytes: len,
    int: getsizeof,
    float: getsizeof,
    bool: getsizeof,
    type(None): getsizeof,
    np.ndarray: attrgetter("nbytes"),
}
_JSON_CONTAINERS = frozenset({dict, list, tuple})
_TEXT_ONLY = frozenset({str})
_LEAVES = (str, bytes, bytearray, int, float, *_CODE)


def weight(value: Any) -> int:
    """Return the approximate size of `value` and everything in it, in bytes.

    Arrays count as their `nbytes`; containers, dataclasses, pydantic models and other objects as
    the sum of their parts. Long containers are sampled. Shared parts count once.
    """
    if (quick := _QUICK.get(type(value))) is not None:
        return quick(value)
    if isinstance(value, _TEXTS):
        return len(value)
    if (small := _small_weight(value, set())) is not None:
        return small
    nbytes = getattr(value, "nbytes", None)
    return _total(value) if nbytes is None else int(nbytes)


def _small_weight(value: Any, seen: set[int]) -> int | None:
    """Return the weight of a small JSON value, the common case, or None for anything else.

    `seen` holds the identities of containers already weighed.
    """
    kind = type(value)
    if kind in PLAIN:
        return getsizeof(value)
    if (quick := _QUICK.get(kind)) is not None:
        return quick(value)
    if kind not in _JSON_CONTAINERS or len(value) > _SAMPLE_ITEMS or len(seen) > _SAMPLE_ITEMS:
        return None
    seen.add(id(value))
    items: Any = value.values() if kind is dict else value
    total = getsizeof(value)
    if PLAIN.issuperset(map(type, items)):
        return total + sum(map(getsizeof, items))
    if kind is dict:
        if not _TEXT_ONLY.issuperset(map(type, value)):
            return None
        total += sum(map(len, value))
    for item in items:
        if id(item) in seen:  # shared parts count once
            continue
        if (inner := _small_weight(item, seen)) is None:
            return None
        total += inner
    return total


def _total(value: Any) -> int:
    total = visited = 0.0
    seen: set[int] = set()
    pending = deque([(value, 1.0)])  # breadth first: unvisited objects count like their siblings
    while pending and len(seen) < _MAX_VISITS:
        part, times = pending.popleft()
        if id(part) in seen:
            continue
        seen.add(id(part))
        visited += times
        nbytes = getattr(part, "nbytes", None)
        if isinstance(nbytes, int):
            total += times * nbytes
            continue
        total += times * getsizeof(part)
        parts = [] if isinstance(part, _LEAVES) else _parts(part)
        if len(parts) > _SAMPLE_ITEMS:
            times *= len(parts) / _SAMPLE_ITEMS
            parts = [parts[n * len(parts) // _SAMPLE_ITEMS] for n in range(_SAMPLE_ITEMS)]
        pending.extend((inner, times) for inner in parts)
    left = sum(times for _, times in pending)
    return int(total * (1 + left / visited))


def _parts(value: Any) -> list[Any]:
    """Return the parts of a container or object, copied atomically, as threads may write."""
    if isinstance(value, dict):
        return [*list(value.keys()), *list(value.values())]
    if isinstance(value, _CONTAINERS):
        return list(value)
    if isinstance(value, Mapping):
        with suppress(Exception):  # raised by its class
            return [*value.keys(), *value.values()]
    held = list(getattr(value, "__dict__", {}).values())
    for kind in type(value).__mro__:
        names = kind.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            with suppress(AttributeError):  # an unset slot, or one with a mangled name
                held.append(getattr(value, name))
    return held
