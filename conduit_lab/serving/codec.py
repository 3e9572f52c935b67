"""JSON in and out: strict where it comes in, whole where it goes out."""

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

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def loads(body: bytes) -> Any:
    """Return the value of a JSON text; `InputError` for anything else (NaN, bad UTF-8, too deep, trailing text)."""
    try:
        return orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise InputError(f"the body is not valid JSON: {error}") from error


def dumps(value: Any) -> bytes:
    """Return `value` as JSON; NumPy arrays are lists, NaN and infinity are null, mappings are
    objects.

    Raises `TypeError` naming the type of what has no JSON form.
    """
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except orjson.JSONEncodeError:
        pass
    # slower, and it knows what orjson refuses: integers over 64 bits, lone surrogates, foreign byte
    # orders
    try:
        return json.dumps(value, default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"the answer has no JSON form: {error}; return dicts, lists, numbers, text or arrays"
        ) from error


def _plain(value: Any) -> Any:
    """Return a form of `value` that orjson knows."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()  # arrays that orjson does not take: float16, text, not contiguous
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
