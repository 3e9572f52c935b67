"""Files that are there whole or not at all, also after a killed process or a power cut."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and put what was written there at `path` unless one is
    there by then.

    Raises `FileExistsError` where one is.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        try:
            os.link(temporary, path)  # unlike a rename, never replaces the file of another process
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists():
                raise FileExistsError(path) from None
            temporary.rename(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, then move the file written there to `path`, atomically."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically: a reader finds the old content or all of the new."""
    with replaced_file(path) as temporary, synced(temporary) as file:
        file.write(content)


@contextmanager
def synced(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing, and wait at the end until it is on the disk."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def temporary_beside(path: Path) -> Path:
    """Return a name that nobody uses, in the folder of `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def can_write(path: Path) -> bool:
    """Return whether a file can be written, and others made beside it."""
    effective = os.access in os.supports_effective_ids
    return all(os.access(each, os.W_OK, effective_ids=effective) for each in (path, path.parent))


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever a file is written or replaced, or None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns, found.st_size


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut; Windows does so by itself."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
