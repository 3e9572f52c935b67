"""`%%stream writer`: stream a generation; the cell's text is the prompt."""

from __future__ import annotations

import ast
import inspect
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.nearest import nearest
from conduit_lab.core.stage import Stage

_CHAT = "--chat"
_EXAMPLE = "%%stream writer --max-tokens 64 --temperature 0.8"


def register_magics(shell: Any) -> None:
    """Register the cell magic `%%stream` and its completion with IPython's `shell`; idempotent."""

    def stream(line: str, cell: str) -> Any:
        """Stream a generation from the cell's text.

            %%stream writer --max-tokens 64 --temperature 0.8
            Once upon a time

        The options are the keyword arguments of `writer.stream`. With `--chat` the text is a user
        message. The stream is the cell's value, so it is shown live, and is `_` in the next cell.
        Works with anything that has a `stream` method, such as an endpoint.
        """
        return stream_cell(line, cell, shell.user_ns)

    shell.register_magic_function(stream, magic_kind="cell", magic_name="stream")
    completer = lambda _, event: completions(event.line, shell.user_ns)  # noqa: E731
    shell.set_hook("complete_command", completer, str_key="%%stream")


def stream_cell(line: str, cell: str, namespace: dict[str, Any]) -> Any:
    """Return the stream that a cell requests; `line` is the text after `%%stream`.

    Raises `InputError` for a name without a `stream` method, an unknown option, an option without a
    value, and a cell without a prompt.
    """
    try:
        name, *words = shlex.split(line)
    except ValueError as error:
        reason = "nothing" if not line.strip() else f"{line.strip()!r} ({error})"
        raise InputError(
            f"%%stream expects the name of a generator, got {reason}: {_EXAMPLE}"
        ) from None
    method = _stream_method(name, namespace)
    chat = _CHAT in words
    options = dict(_options([word for word in words if word != _CHAT], name, _keywords(method)))
    text = cell.rstrip("\n")
    if not text.strip():
        raise InputError(
            f"%%stream {name} expects a prompt below its line, got an empty cell: write the text "
            "there"
        )
    return method([{"role": "user", "content": text}] if chat else text, **options)


def completions(line: str, namespace: dict[str, Any]) -> list[str]:
    """Return completions for the line: names first, then the options of the named object."""
    words = line.split()
    if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
        return sorted(name for name, value in namespace.items() if _streams(name, value))
    try:
        keywords = _keywords(_stream_method(words[1], namespace))
    except InputError:
        return []
    used = {word.partition("=")[0] for word in words[2:]}
    options = [_CHAT, *(f"--{name.replace('_', '-')}" for name in keywords)]
    return [option for option in options if option not in used]


def _stream_method(name: str, namespace: dict[str, Any]) -> Callable[..., Any]:
    first, *attributes = name.split(".")
    value = namespace.get(first)
    for attribute in attributes:
        value = getattr(value, attribute, None)
    method: Callable[..., Any] | None = getattr(value, "stream", None)
    if method is None or not callable(method):
        known = [each for each, held in namespace.items() if _streams(each, held)]
        near = nearest(name, known)
        meant = f". Did you mean {near!r}?" if near else f": {_EXAMPLE}"
        got = f"{name!r} of the type {type(value).__name__}" if first in namespace else repr(name)
        raise InputError(f"%%stream expects the name of a generator, got {got}{meant}")
    return method


def _streams(name: str, value: Any) -> bool:
    """Return whether a session name is the user's and refers to something that streams."""
    method = getattr(type(value), "stream", None)
    return not name.startswith("_") and callable(method) and method is not Stage.stream


def _keywords(method: Callable[..., Any]) -> list[str]:
    """Return the names of a method's parameters that can be options."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in parameters if parameter.kind in named]


def _options(words: list[str], generator: str, keywords: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the options of a line, `--name value` or `--name=value`, as Python literals."""
    pending = iter(words)
    for word in pending:
        flag, joined, text = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in keywords:
            near = nearest(name, keywords)
            meant = f". Did you mean '--{near.replace('_', '-')}'?" if near else f": {_EXAMPLE}"
            raise InputError(
                f"%%stream {generator} expects options such as --max-tokens 64, got {word!r}{meant}"
            )
        value = text if joined else next(pending, None)
        if value is None:
            raise InputError(f"%%stream {generator} expects a value after {word}: {_EXAMPLE}")
        yield name, _literal(value)


def _literal(text: str) -> Any:
    """Return a Python literal, or the text if it is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
