"""Argument problems as text, as listed in the error response to an invalid request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from conduit_lab.core.secret_names import is_secret_name
from conduit_lab.core.spec import describe
from conduit_lab.core.text import clip
from conduit_lab.core.views import figures

MAX_PROBLEMS = 10  # per response; the rest are counted

_MAX_NAME_CHARACTERS = 100
_MAX_EXPECTED_CHARACTERS = 120
_MAX_TEXT_CHARACTERS = 40  # of a received string
_MAX_NUMBER_BITS = 64  # of a received integer that is shown
_MAX_PROBLEM_CHARACTERS = 300

# pydantic's kinds of problems whose own message is not in the form "Input should be ..."
_EXPECTED = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_pattern_mismatch": "a match of the pattern {pattern}",
    "bytes_type": "a string",
    "uuid_type": "a string",
    **dict.fromkeys(
        ("dataclass_type", "dict_type", "mapping_type", "model_attributes_type", "model_type"),
        "an object",
    ),
}
_LENGTHS = {
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
}
_WITHOUT_VALUE = ("missing", "extra_forbidden")
_WITH_VALUE = ("array",)  # `ArrayType.convert` describes the received value


def missing(name: str) -> str:
    """Return the problem of a missing required argument, in pydantic's words."""
    return f"{clip(name, _MAX_NAME_CHARACTERS)}: Field required"


def extra(name: str) -> str:
    """Return the problem of an unexpected argument, in pydantic's words."""
    return f"{clip(name, _MAX_NAME_CHARACTERS)}: Extra inputs are not permitted"


def problem(found: Mapping[str, Any]) -> str:
    """Return one problem found by pydantic, with the expected and the received value."""
    where = clip(".".join(map(str, found["loc"])), _MAX_NAME_CHARACTERS)
    text = str(found["msg"])
    if found["type"] not in (*_WITHOUT_VALUE, *_WITH_VALUE):
        got = _received(found, is_secret=any(map(is_secret_name, map(str, found["loc"]))))
        text = f"{clip(_expected(found, text), _MAX_EXPECTED_CHARACTERS)}, got {got}"
    return f"{where}: {text}" if where else text


def _expected(found: Mapping[str, Any], text: str) -> str:
    form = _EXPECTED.get(found["type"]) or _LENGTHS.get(found["type"])
    if form is not None:
        with suppress(KeyError):  # a validator's own error of this type
            return f"expected {form.format(**found.get('ctx', {}))}"
    if text.startswith("Input should be a valid "):
        text = text.partition(",")[0]  # what follows is about the received value
    return text.replace("Input should be", "expected", 1)


def _received(found: Mapping[str, Any], *, is_secret: bool) -> str:
    value = found["input"]
    if found["type"] in _LENGTHS and isinstance(value, Sized):
        return f"{len(value):,}"
    return brief(value, is_secret=is_secret)


def brief(value: Any, *, is_secret: bool = False) -> str:
    """Return a received value for a message: short ones as they are, others by type and size."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if is_secret:
            return f"a string of {figures.plural(len(value), 'character')}"
        return repr(clip(value, _MAX_TEXT_CHARACTERS))
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= _MAX_NUMBER_BITS else "a larger integer"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return f"an object with {figures.plural(len(value), 'field')}"
    if isinstance(value, list | tuple):
        return f"a list of {figures.plural(len(value), 'item')}"
    return describe(value) if isinstance(value, np.ndarray) else type(value).__name__


def listed(problems: Iterable[str], count: int) -> str:
    """Return the first ten of `count` problems, each clipped, and the number of further ones."""
    named = [clip(problem, _MAX_PROBLEM_CHARACTERS) for problem in islice(problems, MAX_PROBLEMS)]
    more = count - len(named)
    return "; ".join(named) + (f"; and {more:,} more" if more > 0 else "")
