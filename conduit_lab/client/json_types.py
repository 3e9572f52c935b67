"""Python types from JSON Schemas, for signatures."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any, Literal

_PLAIN = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}
_MAX_DEPTH = 6  # of nested schemas, which may be recursive
_MAX_CHOICES = 50
_REFERENCE = "#/"


def python_type(schema: Any, document: Mapping[str, Any], depth: int = 0) -> Any:
    """Return the Python type of the values of `schema`, or `Any` if it is unknown.

    References are resolved in `document`.
    """
    schema = resolved(schema, document)
    if depth > _MAX_DEPTH or not schema:
        return Any
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(choices, list) and 0 < len(choices) <= _MAX_CHOICES:
        plain = all(isinstance(each, str | int | bool | None) for each in choices)
        return Literal[tuple(choices)] if plain else Any
    parts = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(parts, list):
        return _union([python_type(part, document, depth + 1) for part in parts])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _union([python_type({**schema, "type": each}, document, depth + 1) for each in kind])
    if kind == "array":
        return list[python_type(schema.get("items"), document, depth + 1)]  # type: ignore[misc]
    if kind == "object":
        inner = schema.get("additionalProperties")
        value = python_type(inner, document, depth + 1) if isinstance(inner, dict) else Any
        return dict[str, value]  # type: ignore[valid-type]
    return _PLAIN.get(kind, Any) if isinstance(kind, str) else Any


def resolved(schema: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` with its reference into `document` resolved; empty if there is none."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(schema, dict):
            return {}
        place = schema.get("$ref")
        if not isinstance(place, str):
            return schema
        found: Any = document
        for name in place.removeprefix(_REFERENCE).split("/"):
            found = found.get(name) if isinstance(found, dict) else None
        schema = found
    return {}


def _union(types: list[Any]) -> Any:
    if not types or Any in types:
        return Any
    return functools.reduce(operator.or_, types)
