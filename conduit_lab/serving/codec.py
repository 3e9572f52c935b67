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
from conduit_lab.core.text import one_line
from conduit_lab.flow.ensemble_answer import EnsembleArray

MAX_SHOWN_CHARACTERS = 600
MAX_SHOWN_LINES = 12

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


def preview(value: Any, width: int) -> str:
    """Return the beginning of a JSON value's text, on one line of at most `width` characters."""
    return one_line(_beginning(value, 5 * width), width)


def indented(value: Any) -> str:
    """Return the beginning of a JSON value's indented text: at most 12 lines, 600 characters."""
    text = _beginning(value, MAX_SHOWN_CHARACTERS + 1, indent=2)
    lines = text[:MAX_SHOWN_CHARACTERS].split("\n")
    cut = len(text) > MAX_SHOWN_CHARACTERS or len(lines) > MAX_SHOWN_LINES
    return "\n".join(lines[:MAX_SHOWN_LINES]) + ("\n…" if cut else "")


def _beginning(value: Any, characters: int, indent: int | None = None) -> str:
    """Return the first characters of a value's text; a large one is not written to its end."""
    parts, size = [], 0
    encoder = json.JSONEncoder(ensure_ascii=False, default=str, indent=indent)
    for part in encoder.iterencode(value):
        parts.append(part[:characters])  # a long text is one part
        size += len(parts[-1])
        if size >= characters:
            break
    return "".join(parts)[:characters]


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


def json_type(value: Any) -> str:
    """Return the name of a parsed JSON value's type."""
    names: dict[type, str] = {str: "text", bool: "boolean", type(None): "null"}
    if isinstance(value, dict):
        return "object"
    return "list" if isinstance(value, list) else names.get(type(value), "number")
