"""The JSON Schema of MCP structured content for a JSON value."""

from __future__ import annotations

from typing import Any

from conduit_lab.serving.tool import RESULT


def object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of `as_object(value)` for the values of `schema`."""
    if schema.get("type") == "object":
        return schema
    target = schema.get("$ref", "").rpartition("/")[2]
    definitions = schema.get("$defs", {})
    if definitions.get(target, {}).get("type") == "object":
        return {"type": "object", **schema}
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    outer: dict[str, Any] = {"$defs": definitions} if definitions else {}
    return {**outer, "type": "object", "properties": {RESULT: inner}, "required": [RESULT]}
