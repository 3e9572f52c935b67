"""Files that are either complete or absent, even after a killed process or a power failure."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on exit move its file to `path` atomically.

    If the block raises, nothing is left behind and an existing file is unchanged.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_new_file(path: Path) -> Iterator[Path]:
    """Like `atomic_file`, but raise `FileExistsError` instead of replacing a file at `path`."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        try:
            os.link(temporary, path)  # unlike a rename, never replaces another process's file
        except FileExistsError:
            raise
        except OSError:  # the file system has no hard links
            if path.exists():
                raise FileExistsError(path) from None
            temporary.rename(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` atomically: readers see either the old or the new content.

    Text is written as UTF-8.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_file(path) as temporary, synced(temporary) as file:
        file.write(data)


@contextmanager
def synced(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing, and sync it to disk on exit."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def temporary_beside(path: Path) -> Path:
    """Return an unused file name in the folder of `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power failure; Windows does so itself."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
