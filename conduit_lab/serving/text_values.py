"""Convert strings of a query, path or form to JSON values, by their parameter's JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

JSON_TYPES = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})

_BOOLEANS = {"True": True, "False": False}  # as written by Python clients


class TextReader:
    """Parses the strings of one parameter by its JSON Schema, whose `$defs` are `definitions`.

    `style` is "list" for an array of scalars (a string per item), "json" for other arrays and
    objects (one JSON string), and "text" for anything else.
    """

    __slots__ = ("_choices", "_kinds", "style")

    def __init__(self, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> None:
        every = list(alternatives(schema, definitions))
        self._kinds = frozenset().union(*(_kinds(each) for each in every))
        arrays = [each for each in every if "array" in _kinds(each) and "type" in each]
        self.style = "text"
        if arrays and "string" not in self._kinds:
            items = [list(alternatives(each.get("items", {}), definitions)) for each in arrays]
            scalars = [each for inner in items for each in inner if not _is_nested(each)]
            self.style = "list" if len(scalars) == sum(map(len, items)) else "json"
            if self.style == "list":
                every = scalars
                self._kinds = frozenset().union(*(_kinds(each) for each in scalars))
        elif "object" in self._kinds and "string" not in self._kinds:
            self.style = "json"
        values = [value for each in every for value in _listed(each)]
        self._choices = {orjson.dumps(v).decode(): v for v in values if not isinstance(v, str)}

    def read(self, texts: list[str]) -> Any:
        """Return the JSON value of one parameter's strings; keep a string that is not JSON."""
        if self.style == "list" and not (len(texts) == 1 and texts[0].startswith("[")):
            return [self._scalar(text) for text in texts]
        if len(texts) > 1:
            return texts
        return _parsed(texts[0]) if self.style != "text" else self._scalar(texts[0])

    def _scalar(self, text: str) -> Any:
        if text in self._choices:
            return self._choices[text]
        if "string" in self._kinds:
            return text
        if "boolean" in self._kinds and text in _BOOLEANS:
            return _BOOLEANS[text]
        value = _parsed(text)
        return text if isinstance(value, list | dict) else value


def query_pairs(arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Encode JSON values as query pairs, with a pair per item of a list of scalars."""
    pairs: list[tuple[str, str]] = []
    for name, value in arguments.items():
        items = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, list | tuple | Mapping) for item in items):
            items = [value]
        pairs += [(name, query_text(item)) for item in items]
    return pairs


def query_text(value: Any) -> str:
    """Encode a JSON value as a string in a query or path."""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def alternatives(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> Iterator[Any]:
    """Yield the schemas that a schema stands for, with references and alternatives resolved."""
    if not isinstance(schema, Mapping) or depth > 20:
        return
    reference = schema.get("$ref")
    inner = [definitions.get(reference.rpartition("/")[2], {})] if reference else []
    for key in ("anyOf", "oneOf", "allOf"):
        inner += schema.get(key, ())
    if not inner:
        yield schema
    for each in inner:
        yield from alternatives(each, definitions, depth + 1)


def _parsed(text: str) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if isinstance(value, float) and text.lstrip("-").isdigit():
        return int(text) if len(text) < 1000 else text  # above 64 bits
    return value


def _kinds(schema: Mapping[str, Any]) -> frozenset[str]:
    if "type" in schema:
        given = schema["type"]
        return frozenset([given] if isinstance(given, str) else given)
    values = _listed(schema)
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return frozenset(names.get(type(v), "object") for v in values) if values else JSON_TYPES


def _listed(schema: Mapping[str, Any]) -> list[Any]:
    """Return the values of an `enum` or `const`."""
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _is_nested(schema: Mapping[str, Any]) -> bool:
    return bool(_kinds(schema) & {"array", "object"}) and _kinds(schema) != JSON_TYPES
