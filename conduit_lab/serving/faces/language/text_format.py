"""The output format of a text generation request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conduit_lab.serving.faces.language.request_fields import FieldError, RequestFields


def read_format(given: RequestFields, schema: RequestFields) -> Mapping[str, Any] | None:
    """Return the JSON Schema of a text, json_object or json_schema format; None for text.

    For json_schema, `schema` is the object with the field "schema".
    """
    kind = given.one_of("type", ("text", "json_object", "json_schema"), "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    found = schema.value("schema")
    if not isinstance(found, dict):
        raise FieldError(schema.name("schema"), f"{schema.name('schema')} expects a JSON Schema")
    return found
