"""Agreement: does an answer equal the expected one: exactly, within a tolerance, or by shape."""

from __future__ import annotations

import json
from typing import Any, Literal

from conduit_lab.core.equality import first_difference

Comparing = Literal["exact", "tolerance", "shape", "answered"]

_RELATIVE_TOLERANCE = 1e-4  # of the floats in two answers of a model
_ABSOLUTE_TOLERANCE = 1e-5


def difference(expected: Any, got: Any, how: Comparing = "exact") -> str | None:
    """Return the first place where two JSON answers differ, in words, or None.

    "exact" compares types too: 1 is neither 1.0 nor true. With "tolerance" floats may differ by
    1e-4 of their size or by 1e-5, with "shape" values need only the same types and keys, and
    "answered" compares nothing.
    """
    if how == "answered":
        return None
    if how == "shape":
        return _shape_difference(expected, got, "answer")
    relative, absolute = (
        (_RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE) if how == "tolerance" else (0, 0)
    )
    return first_difference(expected, got, relative=relative, absolute=absolute)


def _shape_difference(expected: Any, got: Any, where: str) -> str | None:
    """Return the first place with another type or other keys; lists may have any length."""
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
