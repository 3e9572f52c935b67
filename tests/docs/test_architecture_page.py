"""docs/architecture.md names files that exist, and every package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def named() -> Iterator[tuple[Path, str]]:
    """Yield each (folder, file name) of the tree; a package itself has an empty file name."""
    folders = {0: ROOT}
    for line in PAGE.split("```")[1].strip().splitlines():
        if "<" in line:  # one folder per noun
            continue
        indent = len(line) - len(line.lstrip())
        folders = {depth: folder for depth, folder in folders.items() if depth < max(indent, 1)}
        folder = folders[max(folders)]
        if package := re.match(r"\s*(\w+)/(\s|$)", line):
            folder = folders[max(indent, 1)] = folder / package[1]
            yield folder, ""
        for name in re.findall(r"\b\w+\.py\b", line):
            yield folder, name


def test_every_file_of_the_page_exists() -> None:
    places = [folder / name for folder, name in named()]
    assert len(places) > 100
    assert [path for path in places if not path.exists()] == []


def test_every_package_is_on_the_page() -> None:
    shown = {folder for folder, name in named() if not name}
    packages = {path.parent for path in (ROOT / "conduit_lab").rglob("__init__.py")}
    views = ROOT / "conduit_lab" / "notebook" / "views"
    assert {each for each in packages - shown if not each.is_relative_to(views)} == set()
