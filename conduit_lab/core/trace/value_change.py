"""value_change: describe how two answers differ, by their kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from conduit_lab.core.equality import identical
from conduit_lab.core.text import one_line
from conduit_lab.core.trace.described import described
from conduit_lab.core.views import figures

EQUAL = "equal"
MAX_CHANGE_DEPTH = 3  # of dicts and lists whose parts are compared individually
MAX_PARTS = 4  # that are listed

_AROUND = 16  # context characters after the first difference of two texts


def value_change(first: Any, second: Any, depth: int = 0) -> str:
    """Describe the difference of two values in one line, or return `equal`.

    Labels are shown with their scores, arrays by largest and mean absolute difference and cosine,
    numbers by their difference, texts by the first differing position, and dicts and lists by their
    differing parts.
    """
    if identical(first, second):
        return EQUAL
    label, other = getattr(first, "label", None), getattr(second, "label", None)
    if isinstance(label, str) and isinstance(other, str):
        return _labels(first, second)
    a, b = _array(first), _array(second)
    if a is not None and b is not None:
        return _arrays(a, b)
    if isinstance(first, str) and isinstance(second, str):
        return _texts(first, second)
    if _is_number(first) and _is_number(second):
        return f"{described(first)} → {described(second)} ({second - first:+.4g})"
    if type(first) is type(second) and depth < MAX_CHANGE_DEPTH:
        if isinstance(first, dict):
            return _parts(first, second, depth)
        if type(first) in (list, tuple):
            return _items(first, second, depth)
    return f"{described(first)} → {described(second)}"


def text_diff(first: str, second: str) -> str:
    """Return the unified diff of two texts, without file names."""
    import difflib

    lines = difflib.unified_diff(first.splitlines(), second.splitlines(), lineterm="", n=1)
    return "\n".join(list(lines)[2:])


def _labels(first: Any, second: Any) -> str:
    words = [
        f"{one_line(value.label, 24)} {value.score:.3f}"
        if isinstance(value.score, float)
        else one_line(value.label, 24)
        for value in (first, second)
    ]
    return " → ".join(words) if words[0] != words[1] else f"{words[0]}, other probabilities"


def _array(value: Any) -> Any:
    """Return a numeric array, such as a batch's probabilities, or None."""
    if hasattr(value, "labels"):
        value = getattr(value, "probabilities", None)
    return value if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" else None


def _arrays(a: Any, b: Any) -> str:
    if a.shape != b.shape:
        return f"{described(a)} → {described(b)}"
    if a.dtype != b.dtype and np.array_equal(a, b, equal_nan=True):
        return f"equal values, {a.dtype} → {b.dtype}"
    a, b = (array.astype(np.float64).ravel() for array in (a, b))
    with np.errstate(all="ignore"):
        gap = np.abs(a - b)
        gap[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
        finite = gap[np.isfinite(gap)]
        norms = float(np.linalg.norm(a) * np.linalg.norm(b))
        cosine = float(a @ b) / norms if norms else float("nan")
    words = [f"max |Δ| {finite.max(initial=0.0):.3g}"]
    words += [f"mean {finite.mean():.3g}"] if finite.size else []
    if np.isfinite(cosine) and a.size > 1:
        words.append(f"cosine {cosine:.6f}")
    if others := gap.size - finite.size:
        words.append(f"{figures.plural(others, 'value')} not finite in one of them")
    return ", ".join(words)


def _texts(first: str, second: str) -> str:
    ends = zip(first, second, strict=False)
    length = min(len(first), len(second))
    place = next((i for i, (a, b) in enumerate(ends) if a != b), length)
    parts = [repr(one_line(text[place : place + _AROUND], _AROUND)) for text in (first, second)]
    return f"{parts[0]} → {parts[1]} from character {figures.count(place + 1)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _parts(first: dict[Any, Any], second: dict[Any, Any], depth: int) -> str:
    words = []
    for key in dict.fromkeys([*first, *second]):
        if key not in second:
            words.append(f"{key} gone")
        elif key not in first:
            words.append(f"{key} new")
        elif (change := value_change(first[key], second[key], depth + 1)) != EQUAL:
            words.append(f"{key}: {change}")
    return _bounded(words, "key")


def _items(first: Any, second: Any, depth: int) -> str:
    words = [f"{len(first)} → {len(second)} items"] if len(first) != len(second) else []
    pairs = enumerate(zip(first, second, strict=False))
    for place, (a, b) in pairs:
        if (change := value_change(a, b, depth + 1)) != EQUAL:
            words.append(f"[{place}]: {change}")
    return _bounded(words, "item")


def _bounded(words: list[str], noun: str) -> str:
    """Return the first differences, and the count of the others; NaN alone is no difference."""
    more = len(words) - MAX_PARTS
    rest = [f"{figures.plural(more, f'more {noun}')}"] if more > 0 else []
    return "; ".join([*words[:MAX_PARTS], *rest]) or EQUAL
