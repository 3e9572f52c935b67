"""Modules of opened exports: imported from their folders without writing compiled files."""

from __future__ import annotations

import os
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from typing import Any

_folders: set[str] = set()  # of opened exports


def import_from(folder: str) -> None:
    """Make a folder's modules importable without writing `__pycache__` there."""
    _folders.add(folder)
    if _finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder)
    for path in [each for each in sys.path_importer_cache if _is_below(each, folder)]:
        del sys.path_importer_cache[path]  # an earlier finder, which would write
    if folder not in sys.path:
        sys.path.insert(0, folder)


class _Loader(SourceFileLoader):
    """Loads a module without caching its compiled form on disk."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write nothing: the source loader calls this with the compiled module."""


def _finder(path: str) -> FileFinder:
    """Return a finder for a folder of an opened export; `ImportError` for any other path."""
    if not any(_is_below(path, each) for each in _folders) or not os.path.isdir(path):  # noqa: PTH112
        raise ImportError(f"{path} is not in an opened export")
    return FileFinder(path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Loader, SOURCE_SUFFIXES))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)
