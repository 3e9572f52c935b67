"""Equality of answers: within rounding for numbers, exact for everything else."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

MAX_QUOTED_CHARACTERS = 80  # of a JSON value quoted in a difference


def same_answer(expected: Any, got: Any, relative: float, absolute: float) -> bool:
    """Return whether two answers of a model are equal within a tolerance.

    Arrays, and lists and dicts of them, are compared element-wise: |a - b| is at most `relative` ·
    |b| + `absolute` · the largest finite number of `expected`, since all numbers of an answer may
    be small. NaN equals NaN. Integers, text and booleans must be equal.
    """
    if isinstance(expected, list):
        return len(expected) == len(got) and all(
            same_answer(a, b, relative, absolute) for a, b in zip(expected, got, strict=True)
        )
    if isinstance(expected, dict):  # scores by class
        a, b = (np.array(list(answer.values())) for answer in (expected, got))
        return expected.keys() == got.keys() and same_answer(a, b, relative, absolute)
    if (
        not isinstance(expected, np.ndarray)
        or expected.shape != got.shape
        or expected.dtype.kind != "f"
    ):
        return bool(np.array_equal(expected, got))
    finite = expected[np.isfinite(expected)]
    near = absolute * float(np.abs(finite).max(initial=0.0))
    return bool(np.allclose(expected, got, relative, near, equal_nan=True))


def identical(first: Any, second: Any) -> bool:
    """Return whether two values have the same type and content; arrays are compared bitwise."""
    if first is second:
        return True
    kind = type(first)
    if kind is not type(second):
        return False
    if isinstance(first, np.ndarray):
        same = first.dtype == second.dtype and first.shape == second.shape
        if not same or first.dtype.hasobject:
            return same and identical(first.tolist(), second.tolist())
        return bool(first.tobytes() == second.tobytes())
    if kind in (list, tuple):
        return len(first) == len(second) and all(map(identical, first, second))
    if kind is dict:
        return first.keys() == second.keys() and all(
            identical(item, second[key]) for key, item in first.items()
        )
    try:
        return bool(first == second)
    except Exception:  # a class whose == does not return a bool, such as a DataFrame
        return False


def first_difference(
    expected: Any, got: Any, *, relative: float, absolute: float, where: str = "answer"
) -> str | None:
    """Describe the first difference between two JSON values; None if they are equal.

    Types must match: 1 equals neither 1.0 nor true. Text and integers must be equal, and floats
    close: |a - b| ≤ max(`absolute`, `relative` · max(|a|, |b|)).
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        if expected.keys() != got.keys():
            return f"{where} has the keys {sorted(got)}, not {sorted(expected)}"
        return _first(
            first_difference(
                expected[key],
                got[key],
                relative=relative,
                absolute=absolute,
                where=f"{where}.{key}",
            )
            for key in expected
        )
    if isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            return f"{where} has {len(got)} items, not {len(expected)}"
        return _first(
            first_difference(e, g, relative=relative, absolute=absolute, where=f"{where}[{i}]")
            for i, (e, g) in enumerate(zip(expected, got, strict=True))
        )
    same = type(expected) is type(got)
    if same and isinstance(expected, float):
        close = math.isclose(expected, got, rel_tol=relative, abs_tol=absolute)
        same = close or repr(expected) == repr(got)  # NaN
        if not relative and not absolute:
            same = repr(expected) == repr(got)  # -0.0 is not 0.0
    elif same:
        same = expected == got
    return None if same else f"{where} is {_quoted(got)}, not {_quoted(expected)}"


def _quoted(value: Any) -> str:
    return json.dumps(value)[:MAX_QUOTED_CHARACTERS]


def _first(differences: Iterable[str | None]) -> str | None:
    return next((difference for difference in differences if difference), None)
