"""The JSON of a request: what a served app takes for Python values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from conduit_lab.core.errors import InputError
from conduit_lab.core.streams.chunk import chunk_json

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def json_body(value: Any, name: str) -> bytes:
    """Return `value` as JSON for the endpoint `name`; `InputError` where it has no JSON form.

    Arrays and iterators become lists, a DataFrame the list of its rows, bytes and images
    `{"type", "base64"}`, a `File` its own form, a time its ISO 8601 text.
    """
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except (TypeError, RecursionError):
        pass
    try:  # slower; takes integers above 64 bits and lone surrogates
        return json.dumps(value, default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{name}: an argument has no JSON form ({error}): "
            "pass text, numbers, lists, dicts or arrays"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if (found := chunk_json(value)) is not value:
        return found
    for method in (
        "to_json",
        "model_dump",
    ):  # a `File`; a pydantic model, which is not imported here
        if (form := getattr(type(value), method, None)) is not None:
            return form(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
