"""Records: a store's files, each with a stable name and read again only when changed."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from time import time_ns
from typing import Any

from conduit_lab.core.paths import has_project, resolve
from conduit_lab.vectors.backend import Notes
from conduit_lab.vectors.documents.sources import Source

# A file changed this shortly before it was read may change again within one timestamp tick.
SETTLED_NANOSECONDS = 2_000_000_000

_KEY = "document "


@dataclass(frozen=True)
class Stamp:
    """A file's size in bytes, its times in nanoseconds, and the time of the `stat`."""

    size: int
    modified: int
    changed: int
    seen: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Return the stamp of a file; raise `OSError` if it is missing."""
        seen, status = time_ns(), path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, seen)

    def proves(self, now: Stamp) -> bool:
        """Return whether a file whose stamp is `now` is certainly unchanged."""
        same = (self.size, self.modified, self.changed) == (now.size, now.modified, now.changed)
        return same and self.seen - max(self.modified, self.changed) >= SETTLED_NANOSECONDS


@dataclass(frozen=True)
class Record:
    """One stored file.

    `source` is its name in the store and `folder` the outermost folder that it was found in,
    relative like the note's key. `content` is a hash of its bytes, `cut` a hash of all other inputs
    of its entries, `entries` a hash of the entries.
    """

    source: str
    folder: str | None
    stamp: Stamp
    content: str
    cut: str
    entries: str
    problem: str


class Records:
    """The records of a store by the path of the file with symbolic links resolved.

    The backend stores them in `notes`; without notes they last for one call. Their paths are
    relative to `base`, the folder of the store's own file, so a store can be moved with its project
    and a shared copy does not reveal its origin. `sections` are the sections of the stored
    documents by name, `folders` the folders of this call.
    """

    def __init__(
        self,
        notes: Notes | None,
        base: Path | None,
        sections: Mapping[str, str | None],
        folders: Iterable[Path] = (),
    ) -> None:
        self._notes = notes
        self._base = None if base is None else os.path.realpath(base)
        self._records: dict[Path, Record] = {}
        self._paths: dict[str, Path] = {}  # by name
        self._changes: dict[str, str | None] = {}
        for key, value in {} if notes is None else notes.read_notes(_KEY).items():
            with suppress(
                ValueError, TypeError, KeyError
            ):  # written by a version with different fields
                fields = json.loads(value)
                record = Record(**{**fields, "stamp": Stamp(**fields["stamp"])})
                path = self._full(key)
                self._records[path], self._paths[record.source] = record, path
        self._sections = sections
        known = (self._folder(source, section) for source, section in sections.items())
        self._folders = {*folders, *(folder for folder in known if folder is not None)}

    def place(self, file: Source) -> Source:
        """Return a file with its name in the store and the outermost folder that it was found in.

        Neither depends on the working directory or on the path passed in this call.
        """
        above = (folder for folder in reversed(file.real.parents) if folder in self._folders)
        return replace(file, name=self._name(file), folder=next(above, None))

    def get(self, file: Source) -> Record | None:
        """Return the record of a file, or None."""
        return self._records.get(file.real)

    def path(self, source: str) -> Path | None:
        """Return the path of the document `source`, or None without a record."""
        return self._paths.get(source)

    def put(
        self, file: Source, stamp: Stamp, content: str, cut: str, entries: str, problem: str
    ) -> None:
        """Record a file."""
        folder = None if file.folder is None else self._key(file.folder)
        record = Record(file.name, folder, stamp, content, cut, entries, problem)
        if self._records.get(file.real) != record:
            self._records[file.real], self._paths[file.name] = record, file.real
            self._changes[self._key(file.real)] = json.dumps(asdict(record))

    def drop(self, source: str) -> None:
        """Remove the record of the document `source`."""
        path = self._paths.pop(source, None)
        if path is not None and self._records.pop(path, None) is not None:
            self._changes[self._key(path)] = None

    def flush(self) -> None:
        """Write the changed records."""
        if self._notes is not None and self._changes:
            # Paths that are not UTF-8 have no note.
            changes = {key: value for key, value in self._changes.items() if _is_utf8(key)}
            self._notes.write_notes(_KEY, changes)
        self._changes = {}

    def _key(self, path: Path) -> str:
        with suppress(ValueError):  # another drive
            return str(path) if self._base is None else os.path.relpath(path, self._base)
        return str(path)

    def _full(self, key: str) -> Path:
        return Path(os.path.normpath(Path(self._base or "/", key)))

    def _name(self, file: Source) -> str:
        known = self._records.get(file.real)
        if known is not None:
            return known.source
        if self._notes is None and file.name not in self._sections and not has_project():
            return str(file.real)  # a relative path would be valid only for this call
        other = self._paths.get(file.name)
        if other is None or other == file.real:
            return file.name
        if other.exists():  # another working directory had a file with this name
            return str(file.real)
        self.drop(file.name)  # it was moved, with or without the project
        return file.name

    def _folder(self, source: str, section: str | None) -> Path | None:
        """Return the folder in which a stored document was found, from its record or section."""
        path = self._paths.get(source)
        if path is not None:
            folder = self._records[path].folder
            return None if folder is None else self._full(folder)
        above = Path(os.path.realpath(resolve(source))).parent
        if not section:
            return None
        places = (above, *above.parents)
        return next((place.parent for place in places if place.name == section), None)


def json_digest(parts: Collection[Any]) -> str:
    """Return a hash of JSON values."""
    return blake2b(json.dumps(list(parts)).encode(), digest_size=16).hexdigest()


def content_digest(data: bytes) -> str:
    """Return a hash of the bytes of a file."""
    return blake2b(data, digest_size=16).hexdigest()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
