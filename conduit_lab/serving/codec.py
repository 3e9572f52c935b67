"""JSON: parsed strictly, written for every value that has a form."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pydantic import BaseModel

from conduit_lab.core.errors import InputError
from conduit_lab.flow.ensemble_answer import EnsembleArray

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def loads(body: bytes) -> Any:
    """Parse a JSON text; `InputError` for NaN, bad UTF-8, trailing text or too deep nesting."""
    try:
        return orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise InputError(f"the body is not valid JSON: {error}") from error


def dumps(value: Any) -> bytes:
    """Return `value` as JSON: NumPy arrays as lists, NaN and infinity as null.

    Raises `TypeError` with the name of a type that has no JSON form.
    """
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except orjson.JSONEncodeError:
        pass
    try:  # slower; takes integers above 64 bits, lone surrogates and foreign byte orders
        return json.dumps(value, default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"the answer has no JSON form: {error}; return dicts, lists, numbers, text or arrays"
        ) from error


def _plain(value: Any) -> Any:
    """Return a form of `value` that orjson knows."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, EnsembleArray):
        return value.view(np.ndarray)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()  # orjson takes no float16, text or non-contiguous arrays
    if isinstance(value, BaseModel):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
