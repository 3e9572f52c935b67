"""Packages: the imports of an export, their distributions, and the project's own modules."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from conduit_lab.export.assets import Assets


class Packages:
    """The imports of the exported source.

    `lines` are the import statements, `distributions` the installed packages behind them with
    their versions. A module below the project's root is copied with everything that it imports.
    """

    def __init__(self, assets: Assets) -> None:
        self.lines: dict[str, None] = {}
        self.distributions: dict[str, str] = {}
        self._assets = assets

    def add(self, line: str, module: str) -> None:
        """Import `module` by the statement `line`."""
        self.lines[line] = None
        self.pin(module)

    def pin_below(self, node: ast.AST) -> None:
        """Pin the modules of every import statement below `node`."""
        for part in ast.walk(node):
            if isinstance(part, ast.Import):
                for alias in part.names:
                    self.pin(alias.name)
            elif isinstance(part, ast.ImportFrom) and part.module and not part.level:
                self.pin(part.module)

    def pin(self, module: str) -> None:
        """Pin the distributions that bring `module`, or copy a module of the project."""
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top == "conduit_lab":
            return
        file = getattr(sys.modules.get(top), "__file__", None)
        if file and self._is_own(Path(file)):
            own = Path(file)
            source = own.parent if own.name == "__init__.py" else own
            self._pin_files(self._assets.add_module(source))
            return
        for name in metadata.packages_distributions().get(top, ()):
            self.distributions[name] = metadata.version(name)

    def _is_own(self, file: Path) -> bool:
        return file.is_relative_to(self._assets.root) and "site-packages" not in file.parts

    def _pin_files(self, files: Iterable[Path]) -> None:
        for file in files:
            if file.suffix == ".py":
                with suppress(SyntaxError):  # no code of this Python, such as a template
                    self.pin_below(ast.parse(file.read_bytes()))
