"""described: a one-line description of a value by type, shape and size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

from conduit_lab.core.frames import is_frame
from conduit_lab.core.text import one_line
from conduit_lab.core.views import figures

MAX_QUOTED_TEXT = 24  # characters; a longer text is shown only as its length
MAX_NAMED_KEYS = 4
MAX_SAMPLED_ITEMS = 64  # of a list, to compare their types
MAX_DESCRIPTION = 120  # characters

_NUMBERS = (bool, int, float, complex, type(None))


def described(value: Any) -> str:
    """Describe a value in one line: `float32 [1, 384]`, `text, 43 characters`, `dict with text`.

    Reads only types, shapes and lengths; an object of an unknown class is shown as its class name.
    """
    try:
        return one_line(_described(value), MAX_DESCRIPTION)
    except Exception:  # raised by a property of the class
        return type(value).__name__


def _described(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, _NUMBERS):
        return _number(value)
    if isinstance(value, bytes | bytearray):
        return figures.plural(len(value), "byte")
    if isinstance(value, np.generic):
        return f"{value.dtype} {_number(value.item())}"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return _shaped(value, shape)
    name = type(value).__name__
    label, score = getattr(value, "label", None), getattr(value, "score", None)
    if isinstance(label, str) and isinstance(score, float):
        return f"{name}({one_line(label, MAX_QUOTED_TEXT)}, {score:.2f})"
    if type(value) in (list, tuple, set, frozenset):
        return _items(value, name)
    if isinstance(value, Mapping):
        return _keys(value, name)
    if isinstance(value, list | tuple) or (hasattr(value, "__len__") and hasattr(value, "labels")):
        return f"{name}, {figures.plural(len(value), 'item')}"
    return name


def _text(value: str) -> str:
    if len(value) <= MAX_QUOTED_TEXT and value.isprintable():
        return repr(str(value))
    return f"text, {figures.plural(len(value), 'character')}"


def _number(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        return f"{value:.4g}"
    return str(value) if not isinstance(value, int) or value.bit_length() < 64 else "large int"


def _shaped(value: Any, shape: tuple[Any, ...]) -> str:
    if is_frame(value):
        rows, columns = (figures.count(n) for n in shape)
        return f"{type(value).__name__}, {rows} × {columns}"
    dtype = getattr(value, "dtype", None)
    kind = type(value).__name__ if dtype is None else str(dtype)
    return f"{kind} [{', '.join(map(str, shape))}]"


def _items(value: Any, name: str) -> str:
    """Describe a list by its length and, if all items have one type, its first item."""
    if not value:
        return f"empty {name}"
    first = next(iter(value))
    if len({type(item) for item in islice(value, MAX_SAMPLED_ITEMS)}) > 1:
        return f"{name} of {figures.plural(len(value), 'value')}"
    what = "text" if isinstance(first, str) else type(first).__name__
    if isinstance(first, np.ndarray):
        what = _shaped(first, first.shape)
    return f"{name} of {figures.count(len(value))} × {what}"


def _keys(value: Mapping[Any, Any], name: str) -> str:
    if type(value) is not dict:
        return name
    if not value:
        return f"empty {name}"
    names = [one_line(str(key), MAX_QUOTED_TEXT) for key in islice(value, MAX_NAMED_KEYS)]
    more = len(value) - len(names)
    return f"{name} with {', '.join(names)}" + (f" and {more} more" if more > 0 else "")
