"""Equality of two pipeline results: any Python values, with numbers compared up to rounding."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conduit_lab.core.equality import same_answer
from conduit_lab.core.frames import is_frame

# fused kernels sum in a different order, and later stages amplify the difference
_RELATIVE_TOLERANCE = 1e-4
_ABSOLUTE_TOLERANCE = 1e-5  # relative to an array's largest number

_EXACT = (str, bytes, bytearray, range)


def same_results(expected: Any, got: Any) -> bool:
    """Return whether two results have the same types and contents, up to rounding.

    Objects without their own `==` are compared by attributes.
    """
    try:
        return _same(expected, got)
    except Exception:  # raised by a class's own ==, or nested too deeply
        return False


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):  # a lazy result has its own type
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is float:
        return math.isclose(a, b, rel_tol=_RELATIVE_TOLERANCE) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, _EXACT):
        return bool(a == b)
    if isinstance(a, np.ndarray | np.generic):
        return _same_arrays(np.asarray(a), np.asarray(b))
    if isinstance(a, Sequence):
        return len(a) == len(b) and all(map(_same, a, b))
    if is_frame(a):
        columns = [(a[name].to_numpy(), b[name].to_numpy()) for name in a.columns]
        return bool((a.columns == b.columns).all() and (a.index == b.index).all()) and all(
            _same_arrays(one, other) for one, other in columns
        )
    if dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a) if field.compare]
        return all(_same(getattr(a, name), getattr(b, name)) for name in names)
    own: Any = kind.__eq__
    if own is not object.__eq__:
        return bool(a == b)
    return a is b or (bool(_attributes(a)) and _same(_attributes(a), _attributes(b)))


def _same_arrays(a: Any, b: Any) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.hasobject:
        return _same(a.tolist(), b.tolist())
    return same_answer(a, b, _RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE)


def _attributes(value: Any) -> dict[str, Any]:
    names = [
        name
        for kind in type(value).__mro__
        for name in getattr(kind, "__slots__", ())
        if hasattr(value, name)
    ]
    return {**{name: getattr(value, name) for name in names}, **getattr(value, "__dict__", {})}
