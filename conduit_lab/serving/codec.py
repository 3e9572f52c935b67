"""JSON: strict parsing, and serialization of every value that has a JSON form."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from math import hypot, isfinite
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from conduit_lab.core.errors import InputError
from conduit_lab.core.frames import is_frame
from conduit_lab.core.streams.chunk import frame_rows
from conduit_lab.core.streams.media import is_image, media
from conduit_lab.core.text import clip, one_line
from conduit_lab.flow.ensemble_answer import EnsembleArray
from conduit_lab.serving.file import File
from conduit_lab.serving.json_pieces import LARGE_BYTES, parse_in_pieces
from conduit_lab.serving.pydantic_models import is_model

MAX_SHOWN_CHARACTERS = 600
MAX_SHOWN_LINES = 12

_DIGITS = b"0" * 19  # digits of the shortest integers above 64 bits
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_SHORT_BYTES = 64  # up to this size a digit scan is about as fast as checking the values
_UNSURE = 2.0**63  # floats from here on may be rounded integers
_MAX_FIELDS = 8
_MAX_KEY_CHARACTERS = 60
_OPTIONS = orjson.OPT_NON_STR_KEYS  # without OPT_SERIALIZE_NUMPY: some arrays are images
# serialized by orjson; not uint8 arrays, which may be images
_ARRAYS = frozenset({np.ndarray, np.float32, np.float64, np.int64, np.bool_})
_NUMBERS = frozenset(
    map(np.dtype, ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u2", "u4", "u8", "?"))
)


def loads(body: bytes) -> Any:
    """Parse JSON; `InputError` for NaN, invalid UTF-8, trailing text or excessive nesting.

    Integers are exact; one with more than 4,300 digits is an `InputError`.
    """
    try:
        return _parsed(body) if len(body) < LARGE_BYTES else parse_in_pieces(body, _parsed)
    except (orjson.JSONDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"the body is not valid JSON: {error}") from error


def _parsed(body: bytes) -> Any:
    value = orjson.loads(body)
    # orjson parses integers above 64 bits as floats
    if len(body) > _SHORT_BYTES and _is_below(value):
        return value
    return _exact(body, value) if _DIGITS in body.translate(_DIGITS_AS_ZERO) else value


def _is_below(value: Any) -> bool:
    """Return whether these are lists of numbers below 2**63; takes a quarter of a digit scan."""
    if type(value) is not list:
        return (
            type(value) is dict and len(value) < _MAX_FIELDS and all(map(_is_below, value.values()))
        )
    try:
        if value and type(value[0]) is list:
            return all(type(row) is list and hypot(*row) < _UNSURE for row in value)
        return hypot(*value) < _UNSURE
    except (TypeError, OverflowError):
        return False


def _exact(body: bytes, value: Any) -> Any:
    """Parse text that has a long run of digits again, with exact integers if needed."""
    digits = body.translate(_DIGITS_AS_ZERO)
    at = digits.find(_DIGITS)
    while at >= 0:
        if digits[at - 1 : at] != b".":  # not the decimals of a float
            return json.loads(body)
        ends = at + len(_DIGITS)
        while digits[ends : ends + 1] == b"0":
            ends += 1
        at = digits.find(_DIGITS, ends)
    return value


def dumps(value: Any) -> bytes:
    """Serialize `value` to JSON, the single form of answers, stream chunks and examples.

    DataFrames are lists of rows; Series, named tuples, dataclasses and pydantic models (by alias)
    are objects; arrays and iterators are lists; times and durations are ISO 8601 strings; a
    `Decimal` is a string; bytes, uint8 images and objects with `_repr_png_` are `{"type": …,
    "base64": …}`. NaN, infinity, NaT and NA are null. Raises `TypeError` with the path of a value
    that has no JSON form.
    """
    try:
        if type(value) is np.ndarray and value.dtype in _NUMBERS and value.flags.c_contiguous:
            return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
        return orjson.dumps(value, default=_form_or_fragment, option=_OPTIONS)
    except orjson.JSONEncodeError:
        pass
    try:  # slower, but supports iterators and any key, and reports the path of an unsupported value
        plain = _plain(value, ())
        try:
            return orjson.dumps(plain)
        except orjson.JSONEncodeError:  # integers above 64 bits, lone surrogates
            return json.dumps(plain, allow_nan=False, separators=(",", ":")).encode()
    except RecursionError as error:
        raise TypeError("no JSON form: the value is nested too deep, or contains itself") from error


def preview(value: Any, width: int) -> str:
    """Return the start of a value's JSON text, on one line of at most `width` characters."""
    return one_line(_beginning(value, 5 * width), width)


def indented(value: Any) -> str:
    """Return the start of a value's indented JSON text: at most 12 lines and 600 characters."""
    text = _beginning(value, MAX_SHOWN_CHARACTERS + 1, indent=2)
    lines = text[:MAX_SHOWN_CHARACTERS].split("\n")
    cut = len(text) > MAX_SHOWN_CHARACTERS or len(lines) > MAX_SHOWN_LINES
    return "\n".join(lines[:MAX_SHOWN_LINES]) + ("\n…" if cut else "")


def _beginning(value: Any, characters: int, indent: int | None = None) -> str:
    """Return the first characters of a value's JSON text without serializing the rest."""
    parts, size = [], 0
    encoder = json.JSONEncoder(ensure_ascii=False, default=str, indent=indent)
    for part in encoder.iterencode(value):
        parts.append(part[:characters])  # a long string is one part
        size += len(parts[-1])
        if size >= characters:
            break
    return "".join(parts)[:characters]


def _form_or_fragment(value: Any) -> Any:
    """Return a form of `value` for orjson; reject iterators, which cannot be read twice."""
    if type(value) in _ARRAYS and value.dtype in _NUMBERS and value.flags.c_contiguous:
        return orjson.Fragment(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))
    if isinstance(value, Iterator):
        raise TypeError
    if isinstance(value, np.ndarray | np.generic):
        form = _array_form(value)
        return orjson.Fragment(form) if type(form) is bytes else form
    return _form(value)


def _array_form(array: Any) -> Any:
    """Return the JSON text of a numeric array or scalar, or a simpler value for other dtypes."""
    if isinstance(array, EnsembleArray):
        array = array.view(np.ndarray)
    if isinstance(array, np.ndarray) and not array.ndim:
        array = array[()]
    kind = array.dtype.kind
    if kind in "biuf":
        if array.dtype == np.uint8 and isinstance(array, np.ndarray) and is_image(array):
            return _media_form(array)
        if array.dtype.itemsize > 8 or not array.dtype.isnative:
            array = array.astype(np.float64 if kind == "f" else array.dtype.newbyteorder("="))
        array = np.ascontiguousarray(array) if array.ndim else array
        return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    if kind in "mM":
        return array.astype(f"{kind}8[us]").tolist()  # nanoseconds would become integers
    if kind == "c":
        raise TypeError
    if (names := array.dtype.names) is not None and array.ndim < 2:
        rows = [dict(zip(names, row, strict=True)) for row in np.atleast_1d(array).tolist()]
        return rows if array.ndim else rows[0]
    return array.tolist()


def _media_form(value: Any) -> Any:
    found = media(value)
    return None if found is None else {"type": found.type, "base64": found.base64}


def _form(value: Any) -> Any:
    """Return a simpler value with the same JSON form."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, File):
        return value.to_json()
    if isinstance(value, bytes | bytearray | memoryview):
        return _media_form(value)
    if is_model(value):
        return value.model_dump(by_alias=True)
    if hasattr(value, "_asdict"):
        return value._asdict()
    if is_frame(value):
        return list(frame_rows(value))
    if hasattr(value, "to_dict") and hasattr(value, "index"):  # a Series
        return {str(key): item for key, item in value.to_dict().items()}
    if isinstance(value, timedelta):
        return _iso_duration(timedelta(0) + value) if value == value else None
    if hasattr(value, "isoformat"):  # a datetime or Timestamp; only NaT differs from itself
        return value.isoformat() if value == value else None
    return _object_form(value)


def _iso_duration(value: timedelta) -> Any:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


def _object_form(value: Any) -> Any:
    """Return the form of a rarer type; raise `TypeError` if there is none."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Decimal):
        return str(value) if value.is_finite() else None
    if isinstance(value, UUID | PurePath):
        return str(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, set | frozenset):
        return _sorted(value)
    if type(value).__name__ == "NAType":
        return None
    if (drawn := _media_form(value)) is not None:
        return drawn
    if hasattr(type(value), "__array__"):  # a tensor of another library
        return np.asarray(value)
    if isinstance(value, Iterable) and not isinstance(value, type):
        return list(value)
    raise TypeError


def _sorted(values: Iterable[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:  # mixed types
        return sorted(values, key=lambda each: (type(each).__name__, repr(each)))


_Place = tuple[Any, ...]


def _plain(value: Any, place: _Place) -> Any:
    """Return `value` as JSON types; raise `TypeError` with the path of an unsupported value.

    Uses the same forms as orjson and `_form`.
    """
    if value is None or isinstance(value, bool) or type(value) in (str, int):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, place)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and not isinstance(value, np.generic):
        return float(value) if isfinite(value) else None
    if isinstance(value, dict):
        return {_key(key, place): _plain(item, (*place, key)) for key, item in value.items()}
    if isinstance(value, list | Iterator) or type(value) is tuple:
        return [_plain(item, (*place, number)) for number, item in enumerate(value)]
    try:
        if isinstance(value, np.ndarray | np.generic):
            form = _array_form(value)
            return orjson.loads(form) if type(form) is bytes else _plain(form, place)
        form = _form(value)
    except TypeError as error:
        if error.args:  # raised by user code, or for a nested value
            raise
        raise TypeError(
            f"no JSON form for {type(value).__name__} at value{_shown(place)}: return dicts, "
            "lists, numbers, strings, bytes, times, arrays or frames"
        ) from None
    return _plain(form, place)


def _key(key: Any, place: _Place) -> str:
    """Return an object key as a string, as orjson does."""
    plain = _plain(key, place) if not isinstance(key, tuple | bytes | Mapping) else key
    if isinstance(plain, str):
        return plain
    if plain is None or isinstance(plain, bool | int | float):
        return json.dumps(plain)
    raise TypeError(
        f"no JSON form for the key {clip(repr(key), _MAX_KEY_CHARACTERS)} in value{_shown(place)}: "
        "object keys must be strings"
    )


def _shown(place: _Place) -> str:
    return "".join(f"[{clip(repr(key), _MAX_KEY_CHARACTERS)}]" for key in place)


def json_type(value: Any) -> str:
    """Return the name of a decoded body's type, with its article."""
    names: dict[type, str] = {str: "a JSON string", bool: "a JSON boolean", type(None): "null"}
    if isinstance(value, dict):
        return "a JSON object"
    if isinstance(value, np.ndarray):
        return "an array"
    return "a JSON list" if isinstance(value, list) else names.get(type(value), "a JSON number")
