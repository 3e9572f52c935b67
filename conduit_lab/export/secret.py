"""Secrets: detect texts that must not be written into an export."""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from conduit_lab.core.secret_names import is_secret_name
from conduit_lab.core.syntax import parse_module

MIN_SECRET_CHARACTERS = 8

_SHELLS = ("PWD", "OLDPWD")  # working directories, not passwords
_PROSE = (".md", ".txt", ".toml", ".yaml", ".yml", ".cfg", ".ini", ".env", "")

# The keys of an app (`new_key`), and those of common services. Every match of a pattern contains
# one of the texts before it: searching for a text is a hundred times as fast as matching a pattern.
_SECRET_TEXTS = tuple(
    (marks.split(), re.compile(pattern))
    for marks, pattern in (
        ("clk_", r"\bclk_[A-Za-z0-9_-]{20}"),
        ("sk-", r"\bsk-[A-Za-z0-9_-]{20,}"),
        ("k_live_", r"\b[sr]k_live_[A-Za-z0-9]{16,}"),
        ("ghp_ gho_ ghu_ ghs_ ghr_", r"\bgh[pousr]_[A-Za-z0-9]{36}"),
        ("github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{50}"),
        ("glpat-", r"\bglpat-[A-Za-z0-9_-]{20}"),
        ("hf_", r"\bhf_[A-Za-z0-9]{30}"),
        ("npm_", r"\bnpm_[A-Za-z0-9]{36}"),
        ("pypi-AgEI", r"\bpypi-AgEI[A-Za-z0-9_-]{16}"),
        ("AKIA ASIA", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("xox", r"\bxox[abeprs]-[A-Za-z0-9-]{10}"),
        ("AIza", r"\bAIza[A-Za-z0-9_-]{35}"),
        ("ya29.", r"\bya29\.[A-Za-z0-9_-]{20}"),
        ("SG.", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
        ("AccountKey=", r"\bAccountKey=[A-Za-z0-9+/=]{40}"),
        ("hooks.slack.com", r"\bhooks\.slack\.com/services/T\w+/B\w+/\w+"),
        ("PRIVATE", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
        ("eyJ", r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
        ("://", r"://[^/\s:@\"']*:[^/\s:@\"'{}$<>]{3,}@"),
        (
            "uthorization UTHORIZATION",
            r"(?i:\bauthorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic)\s+[A-Za-z0-9+/=_.-]{16,})",
        ),
    )
)
_ASSIGNED = re.compile(  # in prose, comments and settings files
    r"(?<![\w-])([A-Za-z][\w-]*)[\"'`]?[ \t]*[:=][ \t]*[\"'`]?([^\s\"'`,;(){}\[\]<>$]{8,})"
)
_JSON_PAIR = re.compile(r'"([^"\\\n]{1,100})"\s*:\s*"((?:[^"\\\n]|\\.){8,4096})"')
_PRINTABLE = re.compile(r"[!-~]+")
_PLACEHOLDER = re.compile(
    r"^<.*>$|^\[.*\]$|^\{.*\}$|\$\{|\$\(|\*{4}|\.\.\.|^os\.|environ"
    r"|(?i:^your|change_?me|example)"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,4096}={0,2}")
# of a string continued on the next line
_JOINED = re.compile(r"[\"']\s*\\?\s*\+?\s*\\?\n\s*[rbf]?[\"']|\\\n\s*")


def looks_secret(name: str, value: Any, environ: Mapping[str, str] | None = None) -> bool:
    """Return whether `value` contains a text that is a secret, by its form or by its name.

    A text counts as a secret if it has the form of a service's key, or equals the value of an
    environment variable named like a secret. A text with spaces, or a placeholder, is not a secret
    by name alone.
    """
    if issubclass(type(value), Mapping):  # instances may lie about their `__class__`
        return any(looks_secret(str(key), item, environ) for key, item in value.items())
    if issubclass(type(value), list | tuple | set | frozenset):
        return any(looks_secret(name, item, environ) for item in value)
    if not isinstance(value, str) or len(value) < MIN_SECRET_CHARACTERS:
        return False
    if is_secret_name(name) and _is_credential(name, value):
        return True
    return _found(value, known_secrets(os.environ if environ is None else environ)) is not None


def place_of_secret(text: str, suffix: str, known: Sequence[str]) -> str | None:
    """Return where a text holds a secret: verbatim, in base64, across lines, or by its name."""
    place = _place_of_value(text, known, 1)
    if place is not None:
        return place
    if suffix == ".py":
        return _name_of_secret(text)
    if suffix in (".json", ".jsonl"):
        return _named_in_json(text)
    return _assigned(text) if suffix in _PROSE else None


def place_in_piece(text: str, suffix: str, known: Sequence[str], line: int) -> str | None:
    """Return where a chunk of a text holds a secret; `line` is the number of its first line.

    A chunk of source or JSON cannot be parsed: names and values are found by pattern.
    """
    place = _place_of_value(text, known, line)
    if place is not None:
        return place
    if suffix in (".json", ".jsonl"):
        return _named_in_piece(text, line)
    return _assigned(text, line) if suffix in (*_PROSE, ".py") else None


def _place_of_value(text: str, known: Sequence[str], line: int) -> str | None:
    place = _found(text, known)
    if place is None:
        place = _encoded(text)
    if place is not None:
        return f"line {line + text.count(chr(10), 0, place)}"
    joined = _JOINED.sub("", text)
    if joined != text and _found(joined, known) is not None:
        return "a text over several lines"
    return None


def _found(text: str, known: Sequence[str]) -> int | None:
    """Return the position of a service's key, or of a known secret as a whole word, or None."""
    if (place := _key_place(text)) is not None:
        return place
    for secret in known:
        if secret in text and (secret == text or not secret.isalpha()):
            match = re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", text)
            if match is not None:
                return match.start()
    return None


def _key_place(text: str) -> int | None:
    """Return the position of the first service key, or None."""
    found = [
        match.start()
        for marks, pattern in _SECRET_TEXTS
        if any(mark in text for mark in marks) and (match := pattern.search(text)) is not None
    ]
    return min(found, default=None)


def known_secrets(environ: Mapping[str, str]) -> list[str]:
    """Return the values of environment variables that are named like secrets."""
    return [
        value
        for name, value in environ.items()
        if len(value) >= MIN_SECRET_CHARACTERS and is_secret_name(name) and name not in _SHELLS
    ]


def _is_credential(name: str, value: str) -> bool:
    """Return whether a text is plausible as the secret that its name suggests."""
    if not _PRINTABLE.fullmatch(value) or _PLACEHOLDER.search(value):
        return False
    is_token = name.lower().rstrip("s").endswith("token")  # text models have tokens too
    return any(c.isdigit() for c in value) if is_token else True


def _is_mixed(value: str) -> bool:
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value)


def _encoded(text: str) -> int | None:
    """Return the position of a service's key in base64, or None."""
    for match in _BASE64.finditer(text):
        packed = match[0].rstrip("=").replace("-", "+").replace("_", "/")
        try:
            plain = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
            if _key_place(plain.decode("ascii")) is not None:
                return match.start()
        except ValueError:
            continue
    return None


def _assigned(text: str, line: int = 1) -> str | None:
    """Return the first name in prose or settings that is named like a secret and has a value."""
    for match in _ASSIGNED.finditer(text):
        name, value = match[1].replace("-", "_"), match[2]
        if _is_mixed(value) and is_secret_name(name) and _is_credential(name, value):
            number = line + text.count(chr(10), 0, match.start())
            return f"line {number}, the value of {match[1]}"
    return None


def _named_in_json(text: str) -> str | None:
    """Return the first key of a JSON text that is named like a secret and holds a string."""
    for number, line in enumerate(text.split("\n") if "\n{" in text else [text], 1):
        try:
            pending: list[Any] = [[json.loads(line)]] if line.strip() else []
        except (ValueError, RecursionError):
            continue
        while pending:
            value = pending.pop()
            if isinstance(value, dict):
                for key, held in value.items():
                    if isinstance(held, str) and looks_secret(str(key), held, {}):
                        return f"the value of {key} (record {number})"
                value = value.values()
            pending += [each for each in value if isinstance(each, dict | list)]
    return None


def _named_in_piece(text: str, line: int) -> str | None:
    """Return the first key in a chunk of JSON that is named like a secret and holds a string."""
    for match in _JSON_PAIR.finditer(text):
        if looks_secret(match[1], match[2], {}):
            number = line + text.count(chr(10), 0, match.start())
            return f"line {number}, the value of {match[1]}"
    return None


def _name_of_secret(source: str) -> str | None:
    try:
        name = next(_secret_names(parse_module(source)), None)
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, ValueError, tokenize.TokenError):  # not Python source
        return None
    if name is not None:
        return f"the value of {name}"
    for token in tokens:
        if token.type == tokenize.COMMENT and (found := _assigned(token.string)) is not None:
            return f"line {token.start[0]}, {found.partition(', ')[2]}"
    return None


def _secret_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for name, value in _named_values(node):
            text = value.value if isinstance(value, ast.Constant) else None
            if isinstance(text, str) and looks_secret(name, text, {}):
                yield name


def _named_values(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the names that a piece of source assigns: variables, defaults, keys, keywords."""
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
