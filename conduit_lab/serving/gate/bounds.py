"""Bounds: range and length checks for the numbers, lists and strings of a request."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from typing import Any, TypeVar, overload

from conduit_lab.core.errors import InputError
from conduit_lab.core.text import clip

_S = TypeVar("_S", bound=Sized)
_MAX_SHOWN_CHARACTERS = 40
MAX_EMPTY_ELEMENTS = 2**20  # of an empty array, counting empty axes as 1; 65 MB as lists


@overload
def bounded(value: Any, name: str, low: int, high: int) -> int: ...
@overload
def bounded(value: Any, name: str, low: float, high: float) -> float: ...
def bounded(value: Any, name: str, low: float, high: float) -> float:
    """Return `value` if it is a number from `low` to `high`; else raise `InputError`.

    With two `int` bounds the value must be an integer. NaN is always rejected.
    """
    if isinstance(low, int) and isinstance(high, int):
        fits, kind = type(value) is int, "an integer"
    else:
        fits, kind = type(value) in (int, float), "a number"
    if not fits or not low <= value <= high:
        got = clip(repr(value), _MAX_SHOWN_CHARACTERS) if _is_short(value) else type(value).__name__
        raise InputError(f"{name} expects {kind} from {low} to {high}, got {got}")
    return value if kind == "an integer" else float(value)


def bounded_length(value: _S, name: str, high: int, low: int = 0) -> _S:
    """Return `value` if it has `low` to `high` items or characters; else raise `InputError`."""
    if not low <= len(value) <= high:
        noun = "characters" if isinstance(value, str) else "items"
        raise InputError(f"{name} expects {low} to {high:,} {noun}, got {len(value):,}")
    return value


def check_empty(shape: Sequence[int], name: str) -> None:
    """Raise `InputError` for the shape of an empty array with long other axes.

    Such an array takes no bytes in a body, but its rows as lists or JSON, or a sum over its empty
    axis, allocate memory per row.
    """
    if 0 in shape and math.prod(axis or 1 for axis in shape) > MAX_EMPTY_ELEMENTS:
        shown = clip(str(list(shape)), _MAX_SHOWN_CHARACTERS)
        raise InputError(
            f"{name} is empty: its other axes expect at most {MAX_EMPTY_ELEMENTS:,} elements, "
            f"got the shape {shown}"
        )


def _is_short(value: Any) -> bool:
    """Return whether the repr is short; that of a huge integer raises."""
    if isinstance(value, int):
        return value.bit_length() <= 128
    return value is None or isinstance(value, float) or (isinstance(value, str) and len(value) < 99)
