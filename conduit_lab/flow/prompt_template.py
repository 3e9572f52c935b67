"""PromptTemplate: a custom prompt with placeholders for the question and the passages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conduit_lab.models.generation.tainted import TaintedStr, concatenated

TemplateText = str | Sequence[Mapping[str, Any]]

_PLACE = re.compile(r"\{(query|context)\}")


class PromptTemplate:
    """A text, or the messages of a chat, that contains `{query}` and `{context}`.

    Raises `ValueError` for a template that lacks either.
    """

    def __init__(self, template: TemplateText) -> None:
        messages = [{"content": template}] if isinstance(template, str) else list(template)
        contents = [
            message.get("content") if isinstance(message, Mapping) else None for message in messages
        ]
        if not all(isinstance(content, str) for content in contents):
            raise ValueError("a prompt is a text, or messages that each have a text as content")
        found = {name for content in contents for name in _PLACE.findall(str(content))}
        if found != {"query", "context"}:
            raise ValueError(
                "a prompt expects {query} and {context} in it, such as "
                "prompt='Passages: {context}\\nQuestion: {query}\\nAnswer:'"
            )
        self.template: TemplateText = template if isinstance(template, str) else messages

    def call(self, method: Callable[..., Any], question: str, context: str, **options: Any) -> Any:
        """Call a generator's method with the filled template as its first argument."""
        values = {"query": question, "context": context}
        if isinstance(self.template, str):
            return method(_filled(self.template, values), **options)
        messages = [
            {**message, "content": _filled(message["content"], values)} for message in self.template
        ]
        return method(messages, **options)


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Fill a template with values verbatim: braces in a value have no meaning."""
    parts: list[str] = []
    done = 0
    for place in _PLACE.finditer(template):
        parts += [template[done : place.start()], TaintedStr(values[place[1]])]
        done = place.end()
    return concatenated([*parts, template[done:]])
