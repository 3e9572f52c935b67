"""Literals: values that a line of Python source represents exactly."""

from __future__ import annotations

import json
import math
from typing import Any

from conduit_lab.flow.cited_answer import CitedAnswer

_MAX_DEPTH = 20
_SCALARS = (bool, int, str, bytes)


def is_literal(value: Any, depth: int = _MAX_DEPTH) -> bool:
    """Return whether `value` consists only of numbers, text, None and the standard containers."""
    if value is None or value is Ellipsis or type(value) in _SCALARS:
        return True
    if type(value) is float:
        return math.isfinite(value)
    if type(value) in (list, tuple, set, frozenset) and depth:
        return all(is_literal(item, depth - 1) for item in value)
    if type(value) in (dict, CitedAnswer) and depth:
        return all(
            is_literal(key, 0) and is_literal(item, depth - 1) for key, item in value.items()
        )
    return False


def same_literal(a: Any, b: Any) -> bool:
    """Return whether two literals are equal in type, value and order, at every depth.

    Unlike `==`, distinguishes `1`, `True` and `1.0`, and `0.0` and `-0.0`.
    """
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_literal, a, b))
    if isinstance(a, dict):
        return same_literal(list(a.items()), list(b.items()))
    if isinstance(a, set | frozenset):
        return sorted(map(repr, a)) == sorted(map(repr, b))
    return repr(a) == repr(b)


def literal(value: Any) -> str:
    """Return the source of a literal, with double quotes as in the rest of `app.py`."""
    return quoted(value) if isinstance(value, str) else repr(value)


def quoted(text: str) -> str:
    """Return the source of a string, with double quotes."""
    return json.dumps(text, ensure_ascii=False)
