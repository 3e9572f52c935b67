"""Array answers: an endpoint's one array as bytes, for a client whose Accept header asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from conduit_lab.core.npy import NPY_TYPE, has_npy_form, npy_bytes
from conduit_lab.core.spec import Array
from conduit_lab.serving.faces.decoding import INLINE_ARRAY_BYTES, RAW_TYPE

ARRAY_TYPES = (NPY_TYPE, RAW_TYPE)  # the first one wins a tie

_JSON_RANGES = ("application/json", "application/*", "*/*")  # the most specific one counts
_FLOAT32 = np.dtype("<f4")
_DTYPES = frozenset(str(np.dtype(code)) for code in "?bhilqBHILQefd")


def array_type_for(value: Any, headers: Mapping[bytes, bytes]) -> str | None:
    """Return the content type in which an answer is sent as bytes, None for one sent as JSON.

    A request has to name that type in its Accept header, with at least the weight of JSON. Raw
    float32 is for an array of that dtype alone; arrays of other values than numbers are JSON.
    """
    accept = headers.get(b"accept")
    if accept is None or not has_npy_form(value):
        return None
    fitting = [each for each in _named(accept) if each == NPY_TYPE or value.dtype == _FLOAT32]
    return fitting[0] if fitting else None


def array_types(dtype: str) -> Sequence[str]:
    """Return the content types of arrays of a dtype; none for other values than numbers."""
    if dtype not in _DTYPES:
        return ()
    return ARRAY_TYPES if dtype == "float32" else (NPY_TYPE,)


def is_inline(array: Array) -> bool:
    """Return whether an array is copied on the event loop."""
    return array.nbytes <= INLINE_ARRAY_BYTES


def array_bytes(array: Array, content_type: str) -> bytes:
    """Return an array as a `.npy` file, or as its numbers alone, row by row."""
    return array.tobytes() if content_type == RAW_TYPE else npy_bytes(array)


@lru_cache(maxsize=256)
def _named(accept: bytes) -> tuple[str, ...]:
    """Return the types of arrays that an Accept header prefers to JSON, the best one first."""
    weights: dict[str, float] = {}
    for item in accept.decode("latin-1").lower().split(","):
        media, *parameters = (part.strip() for part in item.split(";"))
        weights[media] = _weight(parameters)
    json = next((weights[each] for each in _JSON_RANGES if each in weights), 0.0)
    known = [each for each in ARRAY_TYPES if weights.get(each, 0.0) >= max(json, 1e-3)]
    return tuple(sorted(known, key=lambda each: -weights[each]))


def _weight(parameters: list[str]) -> float:
    """Return the weight of a media range, 1 without one and 0 for one that is no number."""
    given = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        weight = float(given)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
