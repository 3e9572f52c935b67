"""Secrets: texts that must not be written into an export."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ExportError

MIN_SECRET_CHARACTERS = 8

_MAX_BYTES = 2**21  # of a text file that is read
_TEXT_SUFFIXES = frozenset(
    {".py", ".json", ".jsonl", ".md", ".txt", ".toml", ".yaml", ".yml", ".cfg", ".ini", ".env"}
)

_SECRET_NAME = re.compile(
    r"(api_?key|secret|password|passwd|token|credential|access_?key|private_?key)s?$", re.IGNORECASE
)
# names of a tokenizer's and a generator's own
_PLAIN_NAME = re.compile(
    r"(special|stop|bos|eos|pad|unk|mask|sep|cls|start|end|begin|added|extra|first|last|next)"
    r"_?(of_\w+_)?tokens?$",
    re.IGNORECASE,
)
# the keys of an app (`new_key`), and those of common services
_SECRET_TEXT = re.compile(
    r"\bclk_[A-Za-z0-9_-]{20}|\bsk-[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{50}"
    r"|\bhf_[A-Za-z0-9]{30}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bxox[abprs]-[A-Za-z0-9-]{10}"
    r"|\bAIza[A-Za-z0-9_-]{35}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    r"|://[^/\s:@\"']+:[^/\s:@\"'{}]{3,}@"
)


def looks_secret(name: str, value: Any, environ: Mapping[str, str] | None = None) -> bool:
    """Return whether a text in `value` is named like a secret, or is one.

    A text in the form of a service's keys is one, and one that an environment variable with such a
    name holds.
    """
    if isinstance(value, Mapping):
        return any(looks_secret(str(key), item, environ) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return any(looks_secret(name, item, environ) for item in value)
    if not isinstance(value, str) or len(value) < MIN_SECRET_CHARACTERS:
        return False
    return _is_secret_name(name) or _secret_in(value, os.environ if environ is None else environ)


def check_files(folder: Path) -> None:
    """Raise `ExportError` for a text file below `folder` that holds a secret.

    The secret itself is not shown.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TEXT_SUFFIXES and path.is_file() and path.stat().st_size <= _MAX_BYTES:
            text = path.read_text("utf-8", "replace")
            where = _line_of_secret(text)
            if where is None and path.suffix == ".py":
                where = _name_of_secret(text)
            if where is not None:
                raise ExportError(
                    f"{path.relative_to(folder).as_posix()}, {where}: this looks like a secret, "
                    'and would be written into the export; read it with os.environ["NAME"] '
                    "inside the function, and leave it out of recorded calls"
                )


def _line_of_secret(text: str) -> str | None:
    if not _secret_in(text, os.environ):
        return None
    lines = enumerate(text.splitlines(), 1)
    return next((f"line {number}" for number, line in lines if _secret_in(line, os.environ)), "")


def _name_of_secret(source: str) -> str | None:
    try:
        name = next(_secret_names(ast.parse(source)), None)
    except (SyntaxError, ValueError):  # no code of this Python, such as a template
        return None
    return None if name is None else f"the value of {name}"


def _secret_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for name, value in _named_values(node):
            text = value.value if isinstance(value, ast.Constant) else None
            if isinstance(text, str) and looks_secret(name, text, {}):
                yield name


def _named_values(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the names that a piece of source gives a value: variables, defaults, keys, options."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from ((name, node.value) for name in _target_names(target))
    elif isinstance(node, ast.AnnAssign):
        yield from ((name, node.value) for name in _target_names(node.target))
    elif isinstance(node, ast.keyword) and node.arg:
        yield node.arg, node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), value
    elif isinstance(node, ast.arguments):
        places = [*node.posonlyargs, *node.args]
        yield from (
            (place.arg, value)
            for place, value in zip(
                places[len(places) - len(node.defaults) :], node.defaults, strict=True
            )
        )
        yield from (
            (place.arg, value)
            for place, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)
        )


def _target_names(target: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Attribute):
        yield target.attr
    elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        yield str(target.slice.value)


def _is_secret_name(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _PLAIN_NAME.search(name)


def _secret_in(text: str, environ: Mapping[str, str]) -> bool:
    """Return whether a text holds a service's key, or a secret of the environment as a word."""
    if _SECRET_TEXT.search(text):
        return True
    known = [value for key, value in environ.items() if _is_secret_name(key) and value in text]
    return any(
        re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text)
        for value in known
        if len(value) >= MIN_SECRET_CHARACTERS and (value == text or not value.isalpha())
    )
