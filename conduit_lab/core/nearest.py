"""The nearest known name or file to a misspelled one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

_MAX_SEARCHED = 5000  # entries searched, 20 to 60 ms; also the limit for one folder
_MAX_NAME_CHARACTERS = 200  # a name may come from a request
_SKIPPED = ("node_modules", "__pycache__")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name most similar to `name`, ignoring case, or None."""
    import difflib  # needed only for error messages

    known = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name[:_MAX_NAME_CHARACTERS].lower(), known, 1)
    return known[near[0]] if near else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ". Did you mean 'max_tokens'?" for the nearest of `names`, or ""."""
    near = nearest(name, names)
    return f". Did you mean {near!r}?" if near is not None else ""


def nearest_file(path: Path, root: Path, accepts: Callable[[Path], bool]) -> Path | None:
    """Return an existing file or folder that `path` may have meant, or None.

    Prefers the most similar name in the same folder, then the same name elsewhere under `root`,
    nearest to the root first. The search skips hidden folders and stops after 5000 entries.
    """
    if path.parent.is_dir():
        beside = islice(path.parent.iterdir(), _MAX_SEARCHED)
        found = {each.name: each for each in beside if accepts(each)}
        near = nearest(path.name, found)
        if near is not None:
            return found[near]
    pending, searched = deque([root]), 0
    while pending and searched < _MAX_SEARCHED:
        for each in _entries(pending.popleft()):
            searched += 1
            inside = Path(each.path)
            if each.name.lower() == path.name.lower() and accepts(inside):
                return inside
            if each.is_dir(follow_symlinks=False) and not each.name.startswith("."):
                pending += [] if each.name in _SKIPPED else [inside]
    return None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(islice(entries, _MAX_SEARCHED), key=lambda each: each.name)
    except OSError:  # not readable, or removed meanwhile
        return []
