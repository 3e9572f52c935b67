"""Chat messages: convert the messages of a request to the form of chat templates."""

from __future__ import annotations

import json
from typing import Any

from conduit_lab.serving.faces.language.request_fields import FieldError, RequestFields

MAX_MESSAGES = 10_000
MAX_TOOLS = 128

_ROLES = ("system", "developer", "user", "assistant", "tool")
_KEPT = ("name", "tool_call_id", "reasoning_content")
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")


def read_messages(items: list[Any], where: str = "messages") -> list[dict[str, Any]]:
    """Return the messages of an OpenAI chat, each with its content as one string.

    Only text is supported: any other part, such as an image URL, raises `FieldError`, and nothing
    is fetched. Fields that templates do not use are dropped.
    """
    if not items:
        raise FieldError(where, f"{where} expects at least one message, got none")
    return [_message(each, f"{where}[{place}]") for place, each in enumerate(items)]


def _message(item: Any, where: str) -> dict[str, Any]:
    fields = RequestFields(item, where)
    role = fields.one_of("role", _ROLES, "")
    message: dict[str, Any] = {"role": "system" if role == "developer" else role}
    calls = [_call(each, where) for each in fields.items("tool_calls", MAX_TOOLS)]
    if calls:
        message["tool_calls"] = calls
    if fields.has("content") or not calls:
        message["content"] = read_content(fields.value("content"), fields.name("content"))
    else:
        message["content"] = None
    return message | {each: fields.text(each) for each in _KEPT if fields.has(each)}


def read_content(content: Any, where: str) -> str:
    """Return the text of message content, which is a string or a list of text parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise FieldError(where, f"{where} expects a string or a list of text parts")
    texts = []
    for place, item in enumerate(content):
        part = RequestFields(item, f"{where}[{place}]")
        kind = part.text("type")
        if kind not in _TEXT_PARTS:
            raise FieldError(
                part.name("type"),
                f"{part.name('type')} expects 'text', got {kind[:60]!r}: the models of this "
                "server support only text, and nothing is fetched",
                "unsupported_content",
            )
        texts.append(part.text("refusal" if kind == "refusal" else "text"))
    return "\n".join(texts)


def _call(item: Any, where: str) -> dict[str, Any]:
    function = RequestFields(item, f"{where}.tool_calls").object("function")
    return tool_call_message(function.text("name"), function.text("arguments", "{}"))


def tool_call_message(name: str, arguments: str) -> dict[str, Any]:
    """Return a tool call in the form of chat templates, with its arguments as an object."""
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        parsed = None
    given = parsed if isinstance(parsed, dict) else arguments
    return {"type": "function", "function": {"name": name, "arguments": given}}
