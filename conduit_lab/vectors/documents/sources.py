"""Sources: the documents in a folder or a list of paths."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import display, resolve
from conduit_lab.vectors.documents.document import KINDS


@dataclass(frozen=True)
class Source:
    """One file: the path to open, its resolved path, and its name in a store.

    `folder` is the resolved given folder that it was found in; None for a file given by name, which
    is `named`.
    """

    path: Path
    real: Path
    name: str
    folder: Path | None
    named: bool

    @property
    def section(self) -> str | None:
        """The first folder below `folder`, or None for a file directly in it."""
        parts = self.real.relative_to(self.folder).parts if self.folder else ()
        return parts[0] if len(parts) > 1 else None

    @property
    def size(self) -> int:
        """Size in bytes; 0 for a file deleted meanwhile, which is reported on reading."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0


@dataclass(frozen=True)
class FoundSources:
    """The files without duplicates, sorted by name within a folder, and the resolved given folders.

    `passed_over` counts the files of other kinds by suffix, `problems` lists the links that are not
    followed and `locked` the unreadable folders, with reasons.
    """

    files: list[Source]
    folders: list[Path] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    locked: dict[Path, str] = field(default_factory=dict)

    def covers(self, name: str, path: Path | None = None) -> bool:
        """Return whether the document `name` (default for `path`) is below one of the folders.

        The file may now be deleted or a link, so `path` must be resolved. Documents below an
        unreadable folder may still exist and are not covered.
        """
        if path is None:
            path = Path(os.path.realpath(resolve(name).parent), Path(name).name)
        locked = any(path.is_relative_to(folder) for folder in self.locked)
        if locked or Path(name).suffix.lower() not in KINDS:
            return False
        return any(path.is_relative_to(folder) for folder in self.folders)

    def _leads_to(self, link: Path, folder: Path) -> Path | None:
        """Return the target of a link in `folder`; record a problem if it is not followed.

        A link in an untrusted folder must not bring other files into the store.
        """
        real = Path(os.path.realpath(link))
        inside = next((given for given in self.folders if real.is_relative_to(given)), None)
        problem = None
        if inside is None:
            problem = (
                f"is a link out of {display(folder)}, which is not followed: add its target by its "
                "own path"
            )
        elif any(part.startswith(".") for part in real.relative_to(inside).parts):
            problem = (
                "is a link to a hidden file, which is not followed: add its target by its own path"
            )
        elif not real.exists():
            problem = "is a broken link: remove it, or restore its target"
        if problem is not None:
            self.problems[display(link)] = problem
        return real if problem is None else None


def find_sources(given: Any) -> FoundSources:
    """Return the files of a path or an iterable of paths, except hidden files.

    Relative paths are resolved against the project's root. A given link is followed; a link in a
    folder only if it leads to a file in a given folder. Raises `InputError` for a path that does
    not exist.
    """
    files: dict[Path, Source] = {}
    sources = FoundSources([])
    paths = _paths(given)
    sources.folders.extend(Path(os.path.realpath(path)) for path in paths if path.is_dir())
    for path in paths:
        real = Path(os.path.realpath(path))
        if path.is_dir():
            for source in _walk(path, real, sources):
                files.setdefault(source.real, source)
        elif path.is_file():
            files.setdefault(real, Source(path, real, _name(path, real), None, named=True))
        else:
            raise InputError(f"no document at {display(path)}: expected a file or a folder")
    sources.files.extend(files.values())
    return sources


def _paths(given: Any) -> list[Path]:
    single = isinstance(given, str | os.PathLike) or not isinstance(given, Iterable)
    paths = []
    for path in [given] if single else given:
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
        if not isinstance(text, str) or "\0" in text:
            raise InputError(
                f"expected documents as a path, a list of paths or a DataFrame, got {path!r:.80}"
            )
        full = resolve(Path(path))
        # `..` is the parent of a link's target, which only the file system can resolve.
        paths.append(Path(os.path.realpath(full)) if ".." in full.parts else full)
    return paths


def _walk(folder: Path, real_folder: Path, sources: FoundSources) -> Iterator[Source]:
    """Yield the documents below a folder by name, and record other files and problems."""

    def fail(error: OSError) -> None:
        place = Path(error.filename)
        real = real_folder / place.relative_to(folder)
        sources.locked[real] = f"the folder {display(place)} cannot be read: {error.strerror}"

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for link in (Path(place, name) for name in folders):
            if link.is_symlink():
                sources._leads_to(link, folder)  # a target inside is walked by its own path
        for path in (Path(place, name) for name in sorted(names) if not name.startswith(".")):
            if path.suffix.lower() not in KINDS:
                if path.is_file():
                    sources.passed_over[path.suffix or path.name] += 1
            elif path.is_symlink():
                target = sources._leads_to(path, folder)
                # A document is found once, by its own path.
                if target is not None and target.is_file() and target.suffix.lower() not in KINDS:
                    yield Source(path, target, _name(path, target), real_folder, named=False)
            elif path.is_file():  # not a pipe
                real = real_folder / path.relative_to(folder)
                yield Source(path, real, _name(path, real), real_folder, named=False)


def _name(path: Path, real: Path) -> str:
    """Return the path from the project's root if either path is inside it."""
    shown = display(path)
    return shown if shown != str(path) else display(real)
