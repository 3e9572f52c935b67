"""parameter_check: whether a browser validates a parameter as the app does, by its JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conduit_lab.export.web.program import Untraceable

_NOTES = {"title", "description", "default", "examples"}
_CHECKED = {"type", "items", "enum", "const", "minimum", "maximum", "exclusiveMinimum"} | {
    *("exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems"),
}
_ARRAYS = {"x-dtype", "x-shape"}
_TYPES = ("string", "number", "integer", "boolean", "null", "array")


def check_parameter(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> None:
    """Raise `Untraceable` for a parameter `name` that a page would not validate.

    `definitions` are those of the JSON Schema document; a reference to one is a class, whose
    objects a browser does not have.
    """
    if "x-dtype" in schema:
        if schema["x-dtype"] not in ("float32", "float64", "int32", "int64", "uint8", "bool"):
            raise Untraceable(f"takes {name} as an array of {schema['x-dtype']}")
        return
    if not schema.keys() - _NOTES:
        return
    kind = schema.get("type")
    unknown = schema.keys() - _NOTES - _CHECKED
    if kind == "object" and not unknown - {"additionalProperties", "properties"}:
        if schema.get("additionalProperties", True) is True and "properties" not in schema:
            return  # accepts any object
        raise Untraceable(f"takes {name} as an object of checked fields")
    if unknown or (kind not in _TYPES and not {"enum", "const"} & schema.keys()):
        words = ", ".join(sorted(unknown)) or str(kind)
        raise Untraceable(
            f"takes {name} with a type that a page cannot check ({words}): declare it as a number, "
            "text, list or array"
        )
    if isinstance(schema.get("items"), Mapping):
        check_parameter(name, schema["items"], definitions)
