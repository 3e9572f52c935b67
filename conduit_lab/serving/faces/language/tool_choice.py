"""The tools and tool choice of a request."""

from __future__ import annotations

from typing import Any

from conduit_lab.serving.faces.language.request_fields import FieldError, RequestFields
from conduit_lab.serving.faces.language.tool_calls import ToolUse

_MAX_NAME_CHARACTERS = 128


def read_function(fields: RequestFields, schema: str = "parameters") -> dict[str, Any]:
    """Read a function tool; `schema` is the field with its JSON Schema."""
    name = fields.text("name")
    if not 0 < len(name) <= _MAX_NAME_CHARACTERS:
        where, expected = fields.name("name"), f"1 to {_MAX_NAME_CHARACTERS} characters"
        raise FieldError(where, f"{where} expects {expected}, got {len(name)}")
    function: dict[str, Any] = {"name": name, "description": fields.text("description", "")}
    if fields.has(schema):
        parameters = fields.value(schema)
        if not isinstance(parameters, dict):
            raise FieldError(fields.name(schema), f"{fields.name(schema)} expects a JSON Schema")
        function["parameters"] = parameters
    return function


def choose_tools(
    functions: list[dict[str, Any]], mode: str, name: str = "", where: str = "tool_choice"
) -> ToolUse | None:
    """Return the tools of a request, or None if it has none or disables them.

    `mode` is "auto", "none", "required" or "named"; the latter forces the tool `name`.
    """
    names = [str(each["name"]) for each in functions]
    if len(set(names)) < len(names):
        raise FieldError("tools", "tools expects unique names, got a duplicate")
    if mode == "named" and name not in names:
        raise FieldError(where, f"{where} expects the name of a tool, got {name[:60]!r}")
    if mode == "required" and not names:
        raise FieldError(where, f"{where} requires tools, got none")
    if not names or mode == "none":
        return None
    forced = {"required": names, "named": [name]}.get(mode, [])
    return ToolUse(functions, forced)
