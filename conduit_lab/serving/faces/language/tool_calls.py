"""Tool calls: parsed from generated text, in the syntax of the model's chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

# A call is enclosed in two marks; without an end mark it extends to the end of the text.
_MARKS = (
    ("<tool_call>", "</tool_call>"),  # Qwen, Hermes
    ("<|tool_call|>", "<|/tool_call|>"),  # Phi-4-mini
    ("[TOOL_CALLS]", ""),  # Mistral
    ("<|python_tag|>", ""),  # Llama 3
)


@dataclass(frozen=True)
class ToolCall:
    """A call of one of a request's tools; `arguments` is a JSON object as text."""

    name: str
    arguments: str
    id: str = field(default_factory=lambda: f"call_{token_hex(12)}")


@dataclass(frozen=True)
class ToolUse:
    """The tools of a chat, as JSON Schema functions `{"name", "description", "parameters"}`.

    With `forced` the answer must be a call of one of `names`.
    """

    functions: Sequence[Mapping[str, Any]]
    forced: Sequence[str] = ()

    @property
    def names(self) -> frozenset[str]:
        """The names of the callable functions."""
        return frozenset(self.forced or [str(each["name"]) for each in self.functions])

    @property
    def template_tools(self) -> list[dict[str, Any]]:
        """The tools in the form of chat templates."""
        return [{"type": "function", "function": dict(each)} for each in self.functions]

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of a forced call, or None."""
        calls = [
            {
                "type": "object",
                "properties": {
                    "name": {"const": each["name"]},
                    "arguments": each.get("parameters") or {"type": "object"},
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for each in self.functions
            if each["name"] in self.forced
        ]
        if not calls:
            return None
        return calls[0] if len(calls) == 1 else {"anyOf": calls}


class ToolCallReader:
    """Splits generated text into plain text and tool calls, incrementally.

    `template` is the chat template's source, which contains the marks of a call. Marks may be
    special tokens, which add nothing to the text: so unless the template has Qwen's marks, and
    whenever a call is forced, text that starts with a JSON object or list is also parsed as calls.
    Only calls of the given tools count; anything else is text.
    """

    def __init__(self, template: str, tools: ToolUse) -> None:
        self._marks = [marks for marks in _MARKS if marks[0] in template]
        marked = any(begin == "<tool_call>" for begin, _ in self._marks)
        self._bare = bool(tools.forced) or not marked
        self._names = tools.names
        self._held = ""
        self._inside: tuple[str, str] | None = None
        self._begun = False  # some text has been returned

    def push(self, text: str) -> tuple[str, list[ToolCall]]:
        """Add text; return the text that cannot be part of a call, and the completed calls."""
        self._held += text
        shown, calls = "", list[ToolCall]()
        while True:
            if self._inside is None:
                place, marks = self._next_mark()
                if marks is None:
                    shown += self._take(place)
                    return shown, calls
                shown += self._take(place)
                self._held = self._held[len(marks[0]) :]
                self._inside = marks
            begin, end = self._inside
            if not end or end not in self._held:
                return shown, calls
            body, _, self._held = self._held.partition(end)
            self._inside = None
            found = self._parsed(body)
            calls += found
            shown += "" if found else f"{begin}{body}{end}"
            self._begun = True

    def finish(self) -> tuple[str, list[ToolCall]]:
        """Return the remaining text and the calls in it."""
        held, self._held = self._held, ""
        calls = self._parsed(held) if self._inside or self._is_bare(held) else []
        mark = self._inside[0] if self._inside else ""
        return ("" if calls else f"{mark}{held}"), calls

    def _take(self, place: int) -> str:
        taken, self._held = self._held[:place], self._held[place:]
        self._begun = self._begun or bool(taken.strip())
        return taken

    def _is_bare(self, text: str) -> bool:
        return self._bare and not self._begun and text.lstrip()[:1] in ("{", "[")

    def _next_mark(self) -> tuple[int, tuple[str, str] | None]:
        """Return the position of the next mark and the mark, else where one could still begin."""
        held = self._held
        found = [(held.find(marks[0]), marks) for marks in self._marks if marks[0] in held]
        if found:
            return min(found)
        if self._is_bare(held) or (self._bare and not self._begun and not held.strip()):
            return 0, None
        for place in range(max(0, len(held) - max(map(len, self._begins), default=0)), len(held)):
            if any(begin.startswith(held[place:]) for begin in self._begins):
                return place, None
        return len(held), None

    @property
    def _begins(self) -> list[str]:
        return [begin for begin, _ in self._marks]

    def _parsed(self, body: str) -> list[ToolCall]:
        """Return the calls in a JSON object or list; empty if any item is not a call."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return []
        calls = [self._call(each) for each in (value if isinstance(value, list) else [value])]
        return [] if None in calls else [call for call in calls if call is not None]

    def _call(self, value: Any) -> ToolCall | None:
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in self._names:
            return None
        arguments = value.get("arguments", value.get("parameters", {}))
        if isinstance(arguments, str):
            return ToolCall(name, arguments)
        if not isinstance(arguments, dict):
            return None
        return ToolCall(name, json.dumps(arguments, ensure_ascii=False))
