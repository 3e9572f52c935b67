"""Hidden files: in a proof's process, files outside the export do not exist.

Imports only the standard library: anything imported later is checked.
"""

# ruff: noqa: PTH100, PTH120
from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

Report = Callable[[Mapping[str, str]], object]

_EVENTS = frozenset({"open", "os.listdir", "os.scandir", "sqlite3.connect"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# of the operating system: programs, libraries, time zones, devices
_SYSTEM = (
    "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr",
    "/Library", "/System", "/opt/homebrew", "/private/etc", "C:\\Windows",
)  # fmt: skip


def hide_files(shown: list[str], hidden: list[str], report: Report) -> None:
    """Hide every file from this process, except those below `shown`, Python's and the system's.

    A folder in `hidden` is hidden even inside a shown one. Opening a file that exists but is hidden
    raises `FileNotFoundError`, and its path is passed to `report`.
    """
    places = dict.fromkeys(_SYSTEM, True)
    places |= dict.fromkeys(hidden, False)
    own = [*shown, *_python_folders(), tempfile.gettempdir()]
    for place in own:
        places[os.path.abspath(place)] = places[os.path.realpath(place)] = True
    known: dict[str, bool] = {}  # keyed by folder

    def is_shown(path: str) -> bool:
        """Return whether the innermost listed folder around `path` is shown."""
        here = path
        while here not in places:
            above = os.path.dirname(here)
            if above == here:
                return False
            here = above
        return places[here]

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS:
            return
        given = arguments[0] if arguments else None
        if not isinstance(given, str | bytes | os.PathLike) or given in (":memory:", ""):
            return
        path = os.path.abspath(os.fsdecode(given).removeprefix("file:").partition("?")[0])
        folder = os.path.dirname(path)
        if folder not in known:
            known[folder] = is_shown(folder)
        if known[folder] and path not in places:
            return
        if is_shown(path):
            return
        writes = event == "open" and bool((arguments[2] or 0) & _WRITES)
        if writes or os.path.lexists(path):
            if path not in sys.path:  # which every import lists
                report({"kind": "file", "path": path, "writes": "writes" if writes else ""})
            raise FileNotFoundError(errno.ENOENT, "not in the export", path)

    sys.addaudithook(check)


def reporter(path: str) -> Report:
    """Return a function that appends each report to a file as a JSON line; thread-safe."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def report(fact: Mapping[str, str]) -> None:
        os.write(file, json.dumps(dict(fact)).encode() + b"\n")

    return report


def _python_folders() -> list[str]:
    """Return the folders of the interpreter and of installed packages."""
    import site

    packages = [*site.getsitepackages(), site.getusersitepackages()]
    found = [sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.__file__)]
    return [*found, *packages, os.path.dirname(os.path.realpath(sys.executable))]
