"""Files that are complete or absent, also after a killed process or a power cut."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, then move the file written there to `path`, atomically.

    Where the block raises, nothing is left behind and an earlier file stays.
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


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` atomically: a reader finds the old content or all of the new.

    Text is written as UTF-8.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_file(path) as temporary, synced(temporary) as file:
        file.write(data)


@contextmanager
def synced(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing, and sync it to the disk at the end."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the folder of `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut; Windows does so by itself."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
