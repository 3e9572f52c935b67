"""Target: a folder that is always complete or absent, replaced by one export at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conduit_lab.core.errors import ExportError


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, then move it to `target`.

    If the block raises, or the move fails, `target` is unchanged and nothing else is left behind.
    Raises `ExportError` if another export to `target` is running.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        _only_export(target),
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as place,
    ):
        made, old = Path(place) / "new", Path(place) / "old"
        made.mkdir()
        yield made
        if target.exists():
            target.rename(old)
        try:
            made.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise


@contextmanager
def _only_export(target: Path) -> Iterator[None]:
    """Hold the advisory lock of `target`; raise `ExportError` if another export holds it."""
    place = target.parent / f".{target.name}.lock"
    while True:
        file = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _lock(file):
                raise ExportError(
                    f"another export to {target} is running: wait until it ends, or choose another "
                    "folder"
                )
            if place.exists() and os.path.samestat(os.fstat(file), place.stat()):
                try:
                    yield
                finally:
                    place.unlink(missing_ok=True)  # while still locked
                return
        finally:
            os.close(file)


def _lock(file: int) -> bool:
    """Lock an open file unless it is already locked; the lock ends when the file is closed."""
    try:
        import fcntl
    except ImportError:  # Windows, where renaming a folder in use fails anyway
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
