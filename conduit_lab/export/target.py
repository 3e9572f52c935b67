"""Folders that are complete or absent: a new one replaces the old, a used one is put back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, then move it into the place of `target`.

    Where the block raises, or the move fails, `target` stays and nothing else is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as place:
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
def preserved_folder(folder: Path) -> Iterator[None]:
    """Put `folder` back as it was at the end of the block, whatever happens to it inside."""
    if not folder.is_dir():
        yield
        return
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        copy = Path(place) / folder.name
        shutil.copytree(folder, copy)
        try:
            yield
        finally:
            shutil.rmtree(folder)
            copy.rename(folder)
