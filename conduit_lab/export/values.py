"""Values: the source or file form of a plain live value."""

from __future__ import annotations

import ast
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from conduit_lab.export.statements import Statement

INLINE_CHARS = 4096
_SECRET_NAME = re.compile(r"(api_?key|secret|password|passwd|token|credential)s?$", re.IGNORECASE)


def is_plain(value: Any, depth: int = 20) -> bool:
    """Whether `value` is made of numbers, text, None and the standard containers alone."""
    if value is None or type(value) in (bool, int, str, bytes):
        return True
    if type(value) is float:
        return math.isfinite(value)
    if type(value) in (list, tuple, set, frozenset) and depth:
        return all(is_plain(item, depth - 1) for item in value)
    if type(value) is dict and depth:
        return all(is_plain(key, 0) and is_plain(item, depth - 1) for key, item in value.items())
    return False


def looks_secret(name: str, value: Any, environ: Mapping[str, str] | None = None) -> bool:
    """Whether a text in `value` is named like a secret, or is what an environment variable named so holds."""
    if isinstance(value, Mapping):
        return any(looks_secret(str(key), item, environ) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return any(looks_secret(name, item, environ) for item in value)
    if not isinstance(value, str) or len(value) < 8:
        return False
    environ = os.environ if environ is None else environ
    return bool(_SECRET_NAME.search(name)) or any(
        value == known for key, known in environ.items() if _SECRET_NAME.search(key)
    )


def source_of(name: str, value: Any, statement: Statement | None) -> str | None:
    """Return the statement that gives a plain value: the user's own where it still does, else a
    snapshot.

    None where the value is too long for a line of source.
    """
    if statement is not None and _still_gives(statement, name, value):
        return statement.text
    text = repr(value)
    return (
        f"{name} = {text}  # snapshot of its value at the export"
        if len(text) <= INLINE_CHARS
        else None
    )


def _still_gives(statement: Statement, name: str, value: Any) -> bool:
    node = statement.node
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if [ast.unparse(target) for target in targets] != [name]:
        return False
    try:
        literal = ast.literal_eval(node.value)
    except ValueError:
        return False
    return type(literal) is type(value) and bool(literal == value)


def write_file(name: str, value: Any, folder: Path) -> tuple[PurePath, str] | None:
    """Write a long plain value as JSON or an array as `.npy` below `folder`, and return (path,
    expression to read it).

    None for a value without such a form: an array of objects, a long value that JSON changes.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return None
        path = PurePath("data", f"{name}.npy")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / path, value, allow_pickle=False)
        return path, f'numpy.load(HERE / "{path.as_posix()}")'
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        return None
    if json.loads(text) != value:
        return None
    path = PurePath("data", f"{name}.json")
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text, "utf-8")
    return path, f'json.loads((HERE / "{path.as_posix()}").read_text("utf-8"))'
