"""ChatTemplate: render the messages of a chat to a prompt with a model folder's Jinja template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conduit_lab.core.errors import InputError, MissingExtra, ModelLoadError, ModelRunError
from conduit_lab.core.paths import display
from conduit_lab.models.config import read_config, read_text
from conduit_lab.models.generation.tainted import TaintedStr, taint

if TYPE_CHECKING:
    from jinja2 import Template

_MAX_MESSAGES = 10_000
_MAX_CHAT_CHARACTERS = 8 * 2**20  # of all messages, and of a prompt
_MAX_DEPTH = 32  # of tool calls, tools and variables
_ROLES = ("system", "developer", "user", "assistant", "tool")
_FIELDS = ("name", "tool_calls", "tool_call_id", "reasoning_content")
_TOOLS = re.compile(r"\btools\b")
_TEMPLATE_FAULTS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError)
_SPECIAL = (
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
)


class ChatTemplate:
    """The chat template of a model folder, compatible with transformers' `apply_chat_template`.

    It is read from `chat_template.jinja`, else from `chat_template` in `tokenizer_config.json`,
    which may also be a list of named templates. Templates run in a sandbox with bounded time and
    memory, and can access only their variables.
    """

    def __init__(self, source: str | None, where: str, special: Mapping[str, str]) -> None:
        self.source = source
        self._where = where
        self._special = dict(special)
        self._template: Template | None = None

    @property
    def takes_tools(self) -> bool:
        """Whether the template uses its `tools` in the prompt."""
        return self.source is not None and _TOOLS.search(self.source) is not None

    @classmethod
    def read(cls, folder: Path, name: str = "default") -> ChatTemplate:
        """Read the template called `name`; if there is none, `render` raises `InputError`.

        Raises `ModelLoadError` for an invalid file or an unknown name.
        """
        file = folder / "tokenizer_config.json"
        config = read_config(file)
        special = {
            token: text for token in _SPECIAL if (text := _text_of(config.get(token))) is not None
        }
        own = folder / "chat_template.jinja"
        if own.is_file():
            return cls(read_text(own), display(own), special)
        found = config.get("chat_template")
        if isinstance(found, list):
            found = _named(found, name, display(file))
        if not isinstance(found, str | None):
            raise ModelLoadError(
                f"{display(file)} expects a string as chat_template, got {type(found).__name__}"
            )
        return cls(found, display(file if found is not None else folder), special)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> TaintedStr:
        """Return the prompt with its special tokens: the tokenizer must not add them again.

        Characters from messages, tools and variables are tainted: `ControlTokens` encodes them as
        plain text.

        A message has a `role` and a `content`, a string or a list of text parts; a URL in it is
        plain text and is never fetched. `variables` are further template variables, such as
        `enable_thinking=False`. Raises `InputError` for invalid messages, `ModelLoadError` for an
        invalid template, `ModelRunError` for a template that exceeds its budget, and `MissingExtra`
        without jinja2.
        """
        if self.source is None:
            raise InputError(
                f"{self._where} has no chat template: pass a prompt string instead of messages, or "
                "save the template of the model family in the folder as chat_template.jinja"
            )
        given = {
            **self._special,
            **{name: taint(_copy_json(name, value)) for name, value in variables.items()},
            "messages": [_taint_message(each) for each in _check_messages(messages)],
            "tools": taint(_copy_json("tools", tools)),
            "add_generation_prompt": add_generation_prompt,
        }
        return self._render(given)

    def _render(self, given: dict[str, Any]) -> TaintedStr:
        try:
            from jinja2 import TemplateError, TemplateSyntaxError

            from conduit_lab.models.generation import render_budget, templating
        except ImportError as error:
            raise MissingExtra("jinja2", "cpu", "a chat template") from error
        try:
            if self._template is None:
                self._template = templating.compile_template(str(self.source))
            return templating.render_template(self._template, given, _MAX_CHAT_CHARACTERS)
        except templating.TemplateRefusal as error:
            raise InputError(
                f"the chat template rejects these messages: {str(error)[:500]}"
            ) from error
        except TemplateSyntaxError as error:
            raise ModelLoadError(
                f"{self._where} has an invalid chat template, line {error.lineno}: {error.message}"
            ) from error
        except SyntaxError as error:  # Python's own nesting limits
            raise ModelLoadError(
                f"{self._where} has an invalid chat template: {error.msg}"
            ) from error
        except (render_budget.BudgetExceeded, RecursionError, MemoryError) as error:
            exceeded = isinstance(error, render_budget.BudgetExceeded)
            reason = str(error) if exceeded else "unbounded recursion"
            raise ModelRunError(
                f"the chat template of {self._where} was stopped: {reason}"
            ) from error
        except (*_TEMPLATE_FAULTS, TemplateError) as error:
            raise InputError(
                "the chat template cannot render these messages: "
                f"{type(error).__name__}: {str(error)[:500]}"
            ) from error


def _taint_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with all its strings tainted, except the role, which is one of `_ROLES`."""
    return {key: value if key == "role" else taint(value) for key, value in message.items()}


def _check_messages(messages: Any) -> list[dict[str, Any]]:
    """Return messages as plain dicts with string contents; raise `InputError` if invalid."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InputError(
            f"messages expects a list of {{'role': …, 'content': …}}, got {type(messages).__name__}"
        )
    if not 0 < len(messages) <= _MAX_MESSAGES:
        raise InputError(f"expected 1 to {_MAX_MESSAGES} messages, got {len(messages)}")
    found = [_message(f"messages[{place}]", message) for place, message in enumerate(messages)]
    length = sum(len(message["content"] or "") for message in found)
    if length > _MAX_CHAT_CHARACTERS:
        raise InputError(
            f"expected messages of at most {_MAX_CHAT_CHARACTERS} characters, got {length}"
        )
    return found


def _message(where: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InputError(
            f"{where} expects {{'role': …, 'content': …}}, got {type(message).__name__}"
        )
    role = message.get("role")
    if role not in _ROLES:
        raise InputError(f"{where} expects a role of {', '.join(_ROLES)}, got {str(role)[:50]!r}")
    result = {"role": role, "content": _content(where, message)}
    for key, value in message.items():
        if key in ("role", "content") or value is None or value in ([], {}):
            continue  # clients echo the empty fields of responses
        if key not in _FIELDS:
            raise InputError(
                f"{where} expects role, content and optionally {', '.join(_FIELDS)}, "
                f"got {str(key)[:50]!r}"
            )
        result[key] = _copy_json(f"{where}.{key}", value)
    return result


def _content(where: str, message: Mapping[str, Any]) -> str | None:
    """Return the content as one string; None for an assistant that only calls tools."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None and message["role"] == "assistant" and message.get("tool_calls"):
        return None
    if not isinstance(content, list | tuple) or not content:
        raise InputError(
            f"{where} expects a string or text parts as content, got {type(content).__name__}"
        )
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        text = part.get("text") if kind == "text" else None
        if not isinstance(text, str):
            raise InputError(
                f"{where} expects parts {{'type': 'text', 'text': …}}, got type "
                f"{str(kind)[:50]!r}: this model accepts only text, and nothing is fetched"
            )
        texts.append(text)
    return "\n".join(texts)


def _copy_json(where: str, value: Any, depth: int = 0) -> Any:
    """Return a copy of JSON-like data, so a template cannot reach the caller's objects."""
    if depth > _MAX_DEPTH:
        raise InputError(f"{where} expects at most {_MAX_DEPTH} levels of nesting")
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _copy_json(where, inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copy_json(where, inner, depth + 1) for inner in value]
    raise InputError(f"{where} expects JSON values, got {type(value).__name__}")


def _named(found: list[Any], name: str, where: str) -> Any:
    """Return the template with a name; a single template is used for any name."""
    named = {
        each["name"]: each.get("template")
        for each in found
        if isinstance(each, dict) and "name" in each
    }
    if name not in named and len(named) != 1:
        raise ModelLoadError(
            f"{where} has no chat template {name!r}: expected one of "
            f"{', '.join(map(str, named)) or 'none'}"
        )
    return named.get(name, next(iter(named.values())))


def _text_of(token: Any) -> str | None:
    """Return the string of a special token, saved as a string or in a dict."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None
