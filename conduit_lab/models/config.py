"""Config: the small JSON and text files of a model's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.views import figures

MAX_CONFIG_BYTES = 16 * 2**20


def read_config(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty if the file is missing; else raise `ModelLoadError`."""
    if not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise ModelLoadError(
            f"{display(path)} holds a {type(value).__name__}: expected a JSON object"
        )
    return value


def read_json(path: Path) -> Any:
    """Return the value of a JSON file; raise `ModelLoadError` if it is broken or too large."""
    try:
        return json.loads(_bounded(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{display(path)} is not JSON: {error}") from error


def read_text(path: Path) -> str:
    """Return the content of a text file; raise `ModelLoadError` if it is not UTF-8 or too large."""
    try:
        return _bounded(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ModelLoadError(f"{display(path)} is not UTF-8: {error}") from error


def _bounded(path: Path) -> Path:
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise ModelLoadError(
            f"{display(path)} has {figures.size(size)}: expected at most "
            f"{figures.size(MAX_CONFIG_BYTES)}"
        )
    return path
