"""Array text: the JSON text of numeric arrays, parsed without a Python object per number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.serving.array_shape import ArrayType

if TYPE_CHECKING:
    import simdjson

# benchmarks/serving.py: a shorter body is parsed as fast by orjson and NumPy
MIN_ARRAY_TEXT_BYTES = 2**11

_MIN_ROW_BYTES = 16  # per bracket, on average; of shorter rows each costs more than its numbers
_CODES: dict[str, Literal["d", "i"]] = {"f": "d", "i": "i", "u": "i"}  # by kind of dtype
_DTYPES = {"d": np.float64, "i": np.int64}
_MAX_FIELDS = 64  # each is found by a scan of the object
_SCALARS = (str, int, float, bool, type(None))


def array_arguments(
    body: bytes, arrays: Mapping[str, ArrayType], depth: int
) -> dict[str, Any] | None:
    """Return the fields of a JSON object in which those named in `arrays` are numeric arrays.

    The arrays are float64 or int64, to be converted by their `ArrayType`. Returns None for any
    other text, for text nested more than `depth` levels deep, and without pysimdjson: then
    `codec.loads` parses it and reports its problems.
    """
    simdjson = _simdjson()
    if simdjson is None:
        return None
    brackets = body.count(b"[")
    if brackets * _MIN_ROW_BYTES > len(body) or body.startswith(b"\xef\xbb\xbf"):
        return None
    try:
        document = simdjson.Parser().parse(body)
        if not isinstance(document, simdjson.Object) or len(document) > _MAX_FIELDS:
            return None
        fields: dict[str, Any] = {}
        for name in document:
            value = document[name]  # `items` would make lists
            if isinstance(value, simdjson.Array):
                kind = arrays[name].dtype.kind
                shape = _shape(value, depth - 1)
                brackets -= sum(math.prod(shape[:axis]) for axis in range(len(shape)))
                fields[name] = _numbers(value, kind, shape)
            elif isinstance(value, _SCALARS):
                fields[name] = value
            else:
                return None
        # equal counts: no number stands in place of a row
        return fields if brackets == 0 and len(fields) == len(document) else None
    except (KeyError, TypeError, ValueError, RuntimeError):
        return None


@cache
def _simdjson() -> ModuleType | None:
    """Import the parser at its first use, since that takes 20 ms; an export may leave it out."""
    try:
        import simdjson
    except ImportError:
        return None
    return simdjson


def _shape(array: simdjson.Array, depth: int) -> list[int]:
    """Return the length of each axis; `ValueError` for rows of unequal length or without items."""
    shape: list[int] = []
    rows: list[Any] = [array]
    while len(shape) < depth:
        lengths = set(map(len, rows))
        if len(lengths) > 1 or 0 in lengths:
            raise ValueError
        shape += lengths
        if isinstance(rows[0][0], int | float):
            return shape
        rows = [item for row in rows for item in row]
    raise ValueError


def _numbers(array: simdjson.Array, kind: str, shape: list[int]) -> Array:
    """Return the numbers of an array; `TypeError` for other values, `ValueError` for more."""
    code = _CODES[kind]
    return np.frombuffer(array.as_buffer(of_type=code), _DTYPES[code]).reshape(shape)
