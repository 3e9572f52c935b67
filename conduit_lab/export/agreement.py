"""Agreement: whether answers match: exactly, within a tolerance, or by shape."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from conduit_lab.core.equality import first_difference

Comparing = Literal["exact", "tolerance", "int8", "shape", "answered"]

_RELATIVE_TOLERANCE = 1e-4  # for floats in the answers of a model
_ABSOLUTE_TOLERANCE = 1e-5

# With int8 models; all-MiniLM-L6-v2 reaches 0.12 to 0.14 for vectors and 0.03 for similarities
INT8_TOLERANCE = 0.05  # absolute below 1, relative above
INT8_VECTOR_TOLERANCE = 0.2  # relative to the vector's length
_MIN_VECTOR_NUMBERS = 32  # shorter lists are compared number by number, such as class probabilities


def difference(expected: Any, got: Any, how: Comparing = "exact") -> str | None:
    """Describe the first difference between two JSON answers; None if they match.

    "exact" also compares types: 1 equals neither 1.0 nor true. "tolerance" allows floats a relative
    difference of 1e-4 or an absolute one of 1e-5. "int8" allows floats 0.05, relative or absolute,
    and compares a list of at least 32 floats as a vector, which may be off by 0.2 of its length.
    "shape" compares only types and keys, and "answered" compares nothing.
    """
    if how == "answered":
        return None
    if how == "shape":
        return _shape_difference(expected, got, "answer")
    if how == "int8":
        return _int8_difference(expected, got)
    relative, absolute = (
        (_RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE) if how == "tolerance" else (0, 0)
    )
    return first_difference(expected, got, relative=relative, absolute=absolute)


def largest_difference(expected: Any, got: Any) -> float | None:
    """Return the largest difference between floats at the same place of both answers, or None."""
    found = [abs(a - b) for a, b, _ in _float_pairs(expected, got, "") if math.isfinite(a - b)]
    return max(found, default=None)


def _int8_difference(expected: Any, got: Any) -> str | None:
    """Compare vectors as a whole, other floats individually, and everything else exactly."""
    for mine, other, where in _vector_pairs(expected, got, "answer"):
        length = float(np.linalg.norm(mine))
        share = float(np.linalg.norm(mine - other)) / (length or 1.0)
        if not share <= INT8_VECTOR_TOLERANCE:
            return f"{where} differs as a vector by {share:.2g} of its length"
    without = _without_vectors(expected), _without_vectors(got)
    return first_difference(*without, relative=INT8_TOLERANCE, absolute=INT8_TOLERANCE)


def _vector_pairs(expected: Any, got: Any, where: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield pairs of equally long vectors at the same place of both answers, with that place."""
    if _is_vector(expected) and _is_vector(got) and len(expected) == len(got):
        yield np.array(expected), np.array(got), where
        return
    for mine, other, place in _parts(expected, got, where):
        yield from _vector_pairs(mine, other, place)


def _float_pairs(expected: Any, got: Any, where: str) -> Iterator[tuple[float, float, str]]:
    if isinstance(expected, float) and isinstance(got, float):
        yield expected, got, where
    for mine, other, place in _parts(expected, got, where):
        yield from _float_pairs(mine, other, place)


def _parts(expected: Any, got: Any, where: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield the values at each key or index that both answers have."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in expected.keys() & got.keys():
            yield expected[key], got[key], f"{where}.{key}"
    elif isinstance(expected, list) and isinstance(got, list):
        for i, (mine, other) in enumerate(zip(expected, got, strict=False)):
            yield mine, other, f"{where}[{i}]"


def _is_vector(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= _MIN_VECTOR_NUMBERS
        and all(isinstance(each, float) for each in value)
    )


def _without_vectors(value: Any) -> Any:
    """Return an answer with each vector replaced by its length."""
    if _is_vector(value):
        return len(value)
    if isinstance(value, dict):
        return {key: _without_vectors(each) for key, each in value.items()}
    return [_without_vectors(each) for each in value] if isinstance(value, list) else value


def _shape_difference(expected: Any, got: Any, where: str) -> str | None:
    """Describe the first difference in type or keys; lists may differ in length."""
    if isinstance(expected, dict) and isinstance(got, dict):
        if expected.keys() != got.keys():
            return f"{where} has the keys {sorted(got)}, not {sorted(expected)}"
        parts = ((expected[key], got[key], f"{where}.{key}") for key in expected)
    elif isinstance(expected, list) and isinstance(got, list):
        if not expected or not got:
            return None
        parts = ((expected[0], each, f"{where}[{i}]") for i, each in enumerate(got[:1]))
    elif type(expected) is type(got) or None in (expected, got):
        return None
    else:
        return f"{where} is {_typed(got)}, not {_typed(expected)}"
    found = (_shape_difference(*part) for part in parts)
    return next((each for each in found if each), None)


def _typed(value: Any) -> str:
    return f"{type(value).__name__} {json.dumps(value)[:40]}"
