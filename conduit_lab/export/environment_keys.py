"""Environment keys: the variables that exported code reads, listed in `.env.example`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from conduit_lab.core.syntax import parse_module

ENVIRONMENT_FILE = ".env.example"

_HEAD = "# The environment of the app; the values are secret and are not exported.\n"
_READS = frozenset({"get", "pop", "setdefault", "__getitem__"})


def environment_keys(folder: Path) -> list[str]:
    """Return the sorted, distinct names of variables that the Python files of an export read."""
    found: set[str] = set()
    for path in sorted(folder.rglob("*.py")):
        try:
            tree = parse_module(path.read_bytes())
        except (SyntaxError, ValueError):  # not Python source, such as a template
            continue
        found |= set(_keys(tree))
    return sorted(found)


def environment_file(keys: list[str]) -> str:
    """Return the text of `.env.example`: names without values."""
    return _HEAD + "".join(f"{key}=\n" for key in keys)


def keys_in(path: Path) -> list[str]:
    """Return the names in a `.env.example`; empty if the file does not exist."""
    if not path.is_file():
        return []
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return [line.partition("=")[0].strip() for line in lines if "=" in line and line[0] != "#"]


def _keys(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and _is_named(node.value, "environ"):
            key = node.slice
        elif isinstance(node, ast.Compare) and _is_named(node.comparators[0], "environ"):
            key = node.left
        elif isinstance(node, ast.Call) and node.args:
            function = node.func
            reads = isinstance(function, ast.Attribute) and function.attr in _READS
            if _is_named(function, "getenv") or (
                reads and _is_named(getattr(function, "value", None), "environ")
            ):
                key = node.args[0]
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def _is_named(node: ast.AST | None, name: str) -> bool:
    """Return whether an expression is `name` or an attribute of that name."""
    return getattr(node, "id", None) == name or getattr(node, "attr", None) == name
