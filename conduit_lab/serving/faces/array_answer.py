"""Array answers: an array sent as bytes to clients whose Accept header asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from conduit_lab.core.npy import NPY_TYPE, has_npy_form, npy_bytes
from conduit_lab.core.spec import Array
from conduit_lab.serving.faces.decoding import INLINE_ARRAY_BYTES, RAW_TYPE

ARRAY_TYPES = (NPY_TYPE, RAW_TYPE)  # the first wins a tie

_JSON_RANGES = ("application/json", "application/*", "*/*")  # the most specific one applies
_FLOAT32 = np.dtype("<f4")
_DTYPES = frozenset(str(np.dtype(code)) for code in "?bhilqBHILQefd")


def array_type_for(value: Any, headers: Mapping[bytes, bytes]) -> str | None:
    """Return the content type to send an answer as bytes, or None to send JSON.

    The Accept header must name the type with at least the weight of JSON. Raw float32 requires an
    array of that dtype; object arrays are always sent as JSON.
    """
    accept = headers.get(b"accept")
    if accept is None or not has_npy_form(value):
        return None
    fitting = [each for each in _named(accept) if each == NPY_TYPE or value.dtype == _FLOAT32]
    return fitting[0] if fitting else None


def array_types(dtype: str) -> Sequence[str]:
    """Return the content types for arrays of a dtype; empty for non-numeric ones."""
    if dtype not in _DTYPES:
        return ()
    return ARRAY_TYPES if dtype == "float32" else (NPY_TYPE,)


def is_inline(array: Array) -> bool:
    """Return whether an array is small enough to copy on the event loop."""
    return array.nbytes <= INLINE_ARRAY_BYTES


def array_bytes(array: Array, content_type: str) -> bytes:
    """Return an array as a `.npy` file, or as raw numbers in row-major order."""
    return array.tobytes() if content_type == RAW_TYPE else npy_bytes(array)


@lru_cache(maxsize=256)
def _named(accept: bytes) -> tuple[str, ...]:
    """Return the array types that an Accept header prefers to JSON, best first."""
    weights: dict[str, float] = {}
    for item in accept.decode("latin-1").lower().split(","):
        media, *parameters = (part.strip() for part in item.split(";"))
        weights[media] = _weight(parameters)
    json = next((weights[each] for each in _JSON_RANGES if each in weights), 0.0)
    known = [each for each in ARRAY_TYPES if weights.get(each, 0.0) >= max(json, 1e-3)]
    return tuple(sorted(known, key=lambda each: -weights[each]))


def _weight(parameters: list[str]) -> float:
    """Return the q-value of a media range: 1 by default, 0 if invalid."""
    given = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        weight = float(given)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
