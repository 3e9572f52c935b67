"""Packages: the imports of an export, the distributions that bring them, and the project's own modules."""

from __future__ import annotations

import ast
import shutil
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.export.statements import Sources

Import = tuple[ast.Import | ast.ImportFrom, ast.alias]


class Packages:
    """What the exported source imports.

    `lines` are the import statements, `distributions` the packages that bring them with their
    versions here. Modules that lie below `root` are the project's own: they are copied into
    `folder`, with what they import in turn.
    """

    def __init__(self, root: Path, folder: Path, sources: Sources) -> None:
        self.lines: dict[str, None] = {}
        self.distributions: dict[str, str] = {}
        self._root = root
        self._folder = folder
        self._sources = sources

    def add(self, name: str, value: Any) -> None:
        """Import the live `value` under `name`, by the session's own statement where it has one.

        Raises `ExportError` where its origin cannot be told.
        """
        written = self._written(name, value)
        if not written:
            self._synthesised(name, value)
        for node, alias in written:
            if isinstance(node, ast.Import):
                self.lines[ast.unparse(ast.Import([alias]))] = None
                self.pin(alias.name)
            else:
                self.lines[ast.unparse(ast.ImportFrom(node.module, [alias], node.level))] = None
                self.pin(node.module or "")

    def add_below(self, node: ast.AST) -> None:
        """Note what every import statement below `node` brings."""
        for part in ast.walk(node):
            if isinstance(part, ast.Import):
                for alias in part.names:
                    self.pin(alias.name)
            elif isinstance(part, ast.ImportFrom) and part.module and not part.level:
                self.pin(part.module)

    def pin(self, module: str) -> None:
        """Note the distribution that brings `module`, or copy a module of the project."""
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top == "conduit_lab":
            return
        file = getattr(sys.modules.get(top), "__file__", None)
        if (
            file
            and Path(file).is_relative_to(self._root)
            and "site-packages" not in Path(file).parts
        ):
            self._copy(Path(file).parent if Path(file).name == "__init__.py" else Path(file))
            return
        for name in metadata.packages_distributions().get(top, ()):
            self.distributions[name] = metadata.version(name)

    def _written(self, name: str, value: Any) -> list[Import]:
        """Return the session's imports that give the live value; several only for submodules of one package."""
        known: list[Import] = [
            (statement.node, alias)
            for statement in self._sources.imports(name)
            if isinstance(statement.node, ast.Import | ast.ImportFrom)
            for alias in statement.node.names
            if (alias.asname or alias.name.partition(".")[0]) == name
        ]
        live = [(node, alias) for node, alias in known if _brings(node, alias, value)] or known
        # `import xml.dom` and `import xml.etree` both bind `xml`
        others = [
            (node, alias)
            for node, alias in live[1:]
            if isinstance(node, ast.Import) and "." in alias.name
        ]
        return [*live[:1], *others]

    def _synthesised(self, name: str, value: Any) -> None:
        """Import a value that no statement of the session names, as after `import *`."""
        if isinstance(value, ModuleType):
            module = value.__name__
            self.lines[f"import {module}" + (f" as {name}" if module != name else "")] = None
        else:
            module, own = str(value.__module__), str(value.__name__)
            if getattr(sys.modules.get(module), own, None) is not value:
                raise ExportError(
                    f"cannot tell where {name} was imported from: import it by name in a cell"
                )
            self.lines[f"from {module} import {own}" + (f" as {name}" if own != name else "")] = (
                None
            )
        self.pin(module)

    def _copy(self, source: Path) -> None:
        """Copy a module or package of the project, and what it imports in turn."""
        target = self._folder / source.name
        if source.name == "app.py":
            raise ExportError(
                f"{source} would be overwritten by the exported app.py: give the module another name"
            )
        if target.exists():
            return
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy2(source, target)
        for file in target.rglob("*.py") if target.is_dir() else [target]:
            with suppress(SyntaxError):  # a file that is no code of this Python, such as a template
                self.add_below(ast.parse(file.read_bytes()))


def _brings(node: ast.Import | ast.ImportFrom, alias: ast.alias, value: Any) -> bool:
    """Whether this import gives the live object."""
    if isinstance(node, ast.Import):
        return (
            sys.modules.get(alias.name if alias.asname else alias.name.partition(".")[0]) is value
        )
    submodule = sys.modules.get(f"{node.module}.{alias.name}")
    return value is getattr(sys.modules.get(node.module or ""), alias.name, submodule)
