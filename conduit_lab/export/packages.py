"""Packages: the imports of an export, their distributions, and the project's own modules."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from conduit_lab.core.syntax import parse_module
from conduit_lab.export.assets import Assets


class Packages:
    """The imports of the exported source.

    `lines` are the import statements, `distributions` the installed packages behind them with their
    versions, and `modules` all names that they import. A module below the project's root is copied
    with everything that it imports.
    """

    def __init__(self, assets: Assets) -> None:
        self.lines: dict[str, None] = {}
        self.modules: dict[str, None] = {}
        self.distributions: dict[str, str] = {}
        self._assets = assets

    @property
    def held(self) -> list[dict[str, Any]]:
        """The import tables, which a draft restores on failure."""
        return [self.lines, self.modules, self.distributions]

    def add(self, line: str, module: str) -> None:
        """Import `module` with the statement `line`."""
        self.lines[line] = None
        self.pin(module)

    def pin_below(self, node: ast.AST) -> None:
        """Pin the modules imported anywhere below `node`."""
        for part in ast.walk(node):
            if isinstance(part, ast.Import):
                for alias in part.names:
                    self.pin(alias.name)
            elif isinstance(part, ast.ImportFrom) and part.module and not part.level:
                self.pin(part.module)

    def pin(self, module: str) -> None:
        """Pin the distributions that provide `module`, or copy a module of the project."""
        self.modules[module] = None
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top == "conduit_lab":
            return
        file, folders = _places_of(top)
        for folder in map(Path, folders):
            if self.is_own(folder):  # a namespace package
                self._pin_files(self._assets.add_module(folder))
                return
        if file and self.is_own(Path(file)):
            own = Path(file)
            source = own.parent if own.name == "__init__.py" else own
            self._pin_files(self._assets.add_module(source))
            return
        for name in _distributions_of(_installed_state()).get(top, ()):
            self.distributions[name] = metadata.version(name)

    def is_own(self, file: Path) -> bool:
        """Return whether a module's file belongs to the project."""
        return file.is_relative_to(self._assets.root) and "site-packages" not in file.parts

    def _pin_files(self, files: Iterable[Path]) -> None:
        for file in files:
            if file.suffix == ".py":
                with suppress(SyntaxError, ValueError):  # not Python source
                    self.pin_below(parse_module(file.read_bytes()))


def _places_of(module: str) -> tuple[str | None, Iterable[str]]:
    """Return the file of a top-level module, or the folders of a namespace package.

    A module imported only inside a function may not be loaded yet.
    """
    loaded = sys.modules.get(module)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        return file, getattr(loaded, "__path__", ()) if file is None else ()
    spec = find_spec(module)
    if spec is None:
        return None, ()
    return spec.origin, spec.submodule_search_locations or () if spec.origin is None else ()


def _installed_state() -> tuple[tuple[str, int], ...]:
    """Return the folders of installed packages with their modification times."""
    folders = [Path(place) for place in sys.path]
    return tuple(
        (str(each), each.stat().st_mtime_ns)
        for each in folders
        if any(each.glob("*.*-info"))  # excludes the project, which every saved file changes
    )


@lru_cache(maxsize=1)
def _distributions_of(state: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    """Map each module to its distributions; cached, as reading them takes a second of CPU time."""
    return metadata.packages_distributions()
