"""Manifest: the digests of an exported folder's files, and the version that wrote it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from conduit_lab.core.errors import ExportError
from conduit_lab.core.version import __version__
from conduit_lab.vectors.disk.copies import unopened

MANIFEST = "manifest.json"

_MAX_NAMED = 5  # files listed in one sentence


@dataclass(frozen=True)
class Manifest:
    """The `version` of conduit_lab that wrote a folder, and the SHA-256 of each file by path."""

    version: str
    digests: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """Return the manifest of a folder, or None if it is not an export."""
        try:
            found = json.loads((folder / MANIFEST).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict):  # other tools have files with that name too
            return None
        version, digests = found.get("conduit_lab"), found.get("sha256")
        if not isinstance(version, str) or not isinstance(digests, dict):
            return None
        return cls(version, digests)

    @classmethod
    def required(cls, folder: Path) -> Self:
        """Return the manifest of a complete export that this version can read.

        Raises `ExportError` for a folder that is not an export, that a newer version wrote, or that
        lacks a file.
        """
        found = cls.of(folder)
        if found is None:
            what = "is not a folder" if not folder.is_dir() else f"has no {MANIFEST} of an export"
            raise ExportError(f"{folder} {what}: expected a folder written by lab.export(folder)")
        if _numbers(found.version) > _numbers(__version__):
            raise ExportError(
                f"{folder} was written by conduit_lab {found.version}, and this is {__version__}: "
                f"install the newer one, pip install {folder / 'lib'}/*.whl"
            )
        missing = [place for place in found.digests if not (folder / place).is_file()]
        if missing:
            raise ExportError(
                f"{folder} lacks {named_places(missing)}: put back what the export wrote, or "
                "export again"
            )
        return found

    def changed(self, folder: Path) -> list[str]:
        """Return the paths of files that were changed since the export."""
        return [
            place
            for place, digest in self.digests.items()
            if not _is_as_written(folder / place, digest)
        ]


def _is_as_written(path: Path, digest: str) -> bool:
    """Return whether a file has this digest; a store may have been opened since, and only read."""
    if not path.is_file():
        return False
    if sha256(path) == digest:
        return True
    return path.suffix == ".sqlite" and digest == hashlib.sha256(unopened(path)).hexdigest()


def sha256(path: Path) -> str:
    """Return the hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder`, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def named_places(places: list[str]) -> str:
    """Name the first few paths, and count the rest."""
    more = len(places) - _MAX_NAMED
    named = ", ".join(places[:_MAX_NAMED])
    return f"{named} and {more} more" if more > 0 else named


def _numbers(version: str) -> list[int]:
    """Return the release numbers of a version: [0, 2, 0] for "0.2.0.dev1"."""
    found = re.match(r"\d+(\.\d+)*", version)
    return [int(each) for each in found[0].split(".")] if found else []
