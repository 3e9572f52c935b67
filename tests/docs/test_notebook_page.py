"""The code of docs/notebook.md runs, and shows what the page shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "notebook.md").read_text("utf-8")
TIME = re.compile(r"[\d.]+ (?:s|ms|µs)")


def blocks(language: str) -> list[str]:
    """Return the page's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_code_runs_and_the_lab_is_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").touch()  # marks the root of a project
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks("python"):
        exec(compile(block, "docs/notebook.md", "exec"), names)
    (shown,) = blocks("text")
    assert words(repr(names["lab"])) == words(shown)
    names["docs"].close()


def words(text: str) -> list[list[str]]:
    """Return the words of each line, its times as dots."""
    return [TIME.sub("…", line).split() for line in text.strip().splitlines()]
