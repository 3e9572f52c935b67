"""ChatTemplate: the messages of a chat to the prompt that a model was trained on, by the template of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conduit_lab.core.errors import InputError, MissingExtra, ModelLoadError, ModelRunError
from conduit_lab.core.paths import display
from conduit_lab.models.config import read_config, read_text
from conduit_lab.models.generation.tainted import TaintedStr, tainted

if TYPE_CHECKING:
    from jinja2 import Template

MAX_MESSAGES = 10_000
MAX_CHARACTERS = 8 * 2**20  # of all messages, and of a prompt
ROLES = ("system", "developer", "user", "assistant", "tool")
_DEPTH = 32  # of tool calls, tools and variables
_FIELDS = ("name", "tool_calls", "tool_call_id", "reasoning_content")
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
    """The chat template of a model folder, in Jinja as transformers' `apply_chat_template` runs it.

    It is in `chat_template.jinja`, else under `chat_template` of `tokenizer_config.json`, there
    also as a list of named ones. Templates run in a sandbox, for a bounded time; they read nothing
    but what they are given.
    """

    def __init__(self, source: str | None, where: str, special: Mapping[str, str]) -> None:
        self.source = source
        self._where = where
        self._special = dict(special)
        self._template: Template | None = None

    @classmethod
    def read(cls, folder: Path, name: str = "default") -> ChatTemplate:
        """Read the template; a folder without one gives one that refuses chats.

        Raises `ModelLoadError` naming a file that is broken, or the names where there are some and
        not this one.
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
                f"{display(file)} has a chat_template of type {type(found).__name__}: wanted a text"
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
        """Return the prompt; it holds the special tokens, so that none are to be added when it is
        tokenised.

        The prompt knows which of its characters are data, from messages, tools and variables:
        `ControlTokens` encodes those as plain text.

        A message has a `role` and a `content`, a text or a list of text parts; a URL in it is text
        and nothing is fetched. `variables` are what a template knows besides, such as
        `enable_thinking=False`. Raises `InputError` for messages that do not fit, `ModelLoadError`
        for a broken template, `ModelRunError` for one that does not end, `MissingExtra` where
        jinja2 is not installed.
        """
        if self.source is None:
            raise InputError(
                f"{self._where} has no chat template: give a prompt text instead of messages, or save the template "
                "of the model's family in the folder as chat_template.jinja"
            )
        given = {
            **self._special,
            **{name: tainted(plain(name, value)) for name, value in variables.items()},
            "messages": [_tainted(message) for message in checked(messages)],
            "tools": tainted(plain("tools", tools)),
            "add_generation_prompt": add_generation_prompt,
        }
        return self._render(given)

    def _render(self, given: dict[str, Any]) -> TaintedStr:
        try:
            from jinja2 import TemplateError, TemplateSyntaxError

            from conduit_lab.models.generation import budget, templating
        except ImportError as error:
            raise MissingExtra("jinja2", "cpu", "a chat template") from error
        try:
            if self._template is None:
                self._template = templating.compiled(str(self.source))
            return templating.render(self._template, given, MAX_CHARACTERS)
        except templating.Refused as error:
            raise InputError(
                f"the chat template refuses these messages: {str(error)[:500]}"
            ) from error
        except TemplateSyntaxError as error:
            raise ModelLoadError(
                f"{self._where} has a chat template that is broken in line {error.lineno}: {error.message}"
            ) from error
        except SyntaxError as error:  # Python's own limits of nesting
            raise ModelLoadError(
                f"{self._where} has a chat template that is broken: {error.msg}"
            ) from error
        except (budget.Exhausted, RecursionError, MemoryError) as error:
            reason = (
                str(error) if isinstance(error, budget.Exhausted) else "it calls itself without end"
            )
            raise ModelRunError(f"the chat template of {self._where} was cut: {reason}") from error
        except (
            TemplateError,
            TypeError,
            ValueError,
            LookupError,
            ArithmeticError,
            AttributeError,
        ) as error:
            raise InputError(
                f"the chat template cannot take these messages: {type(error).__name__}: {str(error)[:500]}"
            ) from error


def _tainted(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose texts are data, but for its role, which is one of `ROLES`."""
    return {key: value if key == "role" else tainted(value) for key, value in message.items()}


def checked(messages: Any) -> list[dict[str, Any]]:
    """Return messages as plain dicts with a text as content; `InputError` names the one that is wrong."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InputError(
            f"messages are a {type(messages).__name__}: wanted a list of {{'role': …, 'content': …}}"
        )
    if not 0 < len(messages) <= MAX_MESSAGES:
        raise InputError(f"there are {len(messages)} messages: wanted 1 to {MAX_MESSAGES}")
    found = [_message(f"messages[{place}]", message) for place, message in enumerate(messages)]
    length = sum(len(message["content"] or "") for message in found)
    if length > MAX_CHARACTERS:
        raise InputError(f"the messages have {length} characters: wanted at most {MAX_CHARACTERS}")
    return found


def _message(where: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InputError(
            f"{where} is a {type(message).__name__}: wanted {{'role': …, 'content': …}}"
        )
    role = message.get("role")
    if role not in ROLES:
        raise InputError(
            f"{where} has the role {str(role)[:50]!r}: wanted one of {', '.join(ROLES)}"
        )
    result = {"role": role, "content": _content(where, message)}
    for key, value in message.items():
        if key in ("role", "content") or value is None or value in ([], {}):
            continue  # clients send back empty fields of answers
        if key not in _FIELDS:
            raise InputError(
                f"{where} has {str(key)[:50]!r}: wanted role, content and at most {', '.join(_FIELDS)}"
            )
        result[key] = plain(f"{where}.{key}", value)
    return result


def _content(where: str, message: Mapping[str, Any]) -> str | None:
    """Return the content as one text; None where an assistant only calls tools."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None and message["role"] == "assistant" and message.get("tool_calls"):
        return None
    if not isinstance(content, list | tuple) or not content:
        raise InputError(
            f"{where} has a content of type {type(content).__name__}: wanted a text, or text parts"
        )
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        text = part.get("text") if kind == "text" else None
        if not isinstance(text, str):
            raise InputError(
                f"{where} has a part of type {str(kind)[:50]!r}: this model reads text alone, and nothing is "
                "fetched; wanted {'type': 'text', 'text': …}"
            )
        texts.append(text)
    return "\n".join(texts)


def plain(where: str, value: Any, depth: int = 0) -> Any:
    """Return JSON-like data apart from the caller's own, so that no object of theirs is in a template's reach."""
    if depth > _DEPTH:
        raise InputError(f"{where} is more than {_DEPTH} levels deep")
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(where, inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(where, inner, depth + 1) for inner in value]
    raise InputError(f"{where} holds a {type(value).__name__}: wanted what JSON knows")


def _named(found: list[Any], name: str, where: str) -> Any:
    """Return the template of that name; of a single one the name does not matter."""
    named = {
        each["name"]: each.get("template")
        for each in found
        if isinstance(each, dict) and "name" in each
    }
    if name not in named and len(named) != 1:
        raise ModelLoadError(
            f"{where} has no chat template {name!r}: it has {', '.join(map(str, named)) or 'none'}"
        )
    return named.get(name, next(iter(named.values())))


def _text_of(token: Any) -> str | None:
    """Return a special token's text, which is saved as it is or inside its description."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None
