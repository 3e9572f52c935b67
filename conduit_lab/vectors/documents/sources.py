"""Sources: the files that a folder or a list of paths stands for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import display, resolve
from conduit_lab.vectors.documents.document import KINDS


@dataclass(frozen=True)
class Source:
    """One file; `section` is the first folder below the one that was given, `named` tells that itself was given."""

    path: Path
    section: str | None
    named: bool

    @property
    def name(self) -> str:
        """What the file is called in a store."""
        return display(self.path)

    @property
    def size(self) -> int:
        """Bytes; 0 for a file that has gone meanwhile, which reading will tell."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0


@dataclass(frozen=True)
class Sources:
    """The files, each once, those of a folder by name; the folders; and how many files of other kinds there are."""

    files: list[Source]
    folders: list[Path] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def covers(self, name: str) -> bool:
        """Tell whether `name` is that of a document below one of the folders."""
        path = resolve(name)
        return path.suffix.lower() in KINDS and any(path.is_relative_to(folder) for folder in self.folders)


def find(given: Any) -> Sources:
    """Return what a path, or an iterable of paths, stands for; names that begin with a dot are passed over.

    Relative paths start at the project's root. Raises `InputError` for a path at which nothing is and for a
    folder that cannot be read.
    """
    files: dict[Path, Source] = {}
    sources = Sources([])
    for path in _paths(given):
        if path.is_dir():
            sources.folders.append(path)
            for file in _walk(path):
                if file.suffix.lower() in KINDS:
                    parts = file.relative_to(path).parts
                    files.setdefault(file, Source(file, parts[0] if len(parts) > 1 else None, named=False))
                else:
                    sources.passed_over[file.suffix or file.name] += 1
        elif path.is_file():
            files.setdefault(path, Source(path, None, named=True))
        else:
            raise InputError(f"no document at {display(path)}: wanted a file or a folder")
    sources.files.extend(files.values())
    return sources


def _paths(given: Any) -> list[Path]:
    many = given if isinstance(given, Iterable) and not isinstance(given, str | os.PathLike) else [given]
    paths = []
    for path in many:
        if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes) or "\0" in os.fspath(path):
            raise InputError(f"documents are a path, a list of paths or a DataFrame, got {path!r:.80}")
        # without `..`, so that one file has one name
        paths.append(Path(os.path.abspath(resolve(Path(path)))))  # noqa: PTH100 - Path.resolve would follow links
    return paths


def _walk(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        # passed over, its documents would look as if they were gone
        raise InputError(f"the folder {display(Path(error.filename))} cannot be read: {error.strerror}") from None

    found = []
    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in sorted(names) if not name.startswith("."))
        found += [path for path in paths if path.is_file()]  # no pipe, no link that leads nowhere
    return found
