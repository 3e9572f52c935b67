"""The form of modules and everything imported: the import itself."""

from __future__ import annotations

import ast
import sys
from types import ModuleType
from typing import Any

from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.forms.value import repeat_assignment
from conduit_lab.export.namespace import Namespace
from conduit_lab.export.state.anatomy import is_made

_Import = tuple[ast.Import | ast.ImportFrom, ast.alias]


class ModuleForm(Form):
    """An imported object is imported again, by the session's own statement if there is one."""

    aliased = False

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return True."""
        return True

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the session's name for a module, or else import it under its own name."""
        name = draft.namespace.name_of(value)
        if name is not None:
            draft.needs.append(name)
            return name
        if not isinstance(value, ModuleType):
            raise draft.nameless(value)
        draft.packages.add(f"import {value.__name__}", value.__name__)
        return value.__name__

    def statement(self, value: Any, draft: Draft) -> str:
        """Add the object's import lines, which go at the top of `app.py`."""
        if isinstance(value, ModuleType) and is_made(value):
            return repeat_assignment(value, draft)
        written = _written(draft.name, value, draft.namespace)
        if not written:
            draft.packages.add(*_made(draft.name, value, draft))
        for node, alias in written:
            if isinstance(node, ast.Import):
                draft.packages.add(ast.unparse(ast.Import([alias])), alias.name)
            else:
                line = ast.unparse(ast.ImportFrom(node.module, [alias], node.level))
                draft.packages.add(line, node.module or "")
        return ""


def is_of_module(value: Any) -> bool:
    """Return whether the object's module exposes it under its name."""
    module = sys.modules.get(str(getattr(value, "__module__", "")))
    return getattr(module, str(getattr(value, "__name__", "")), None) is value


def _written(name: str, value: Any, namespace: Namespace) -> list[_Import]:
    """Return the session's import of the live object; several only for submodules of a package."""
    known: list[_Import] = [
        (statement.node, alias)
        for statement in namespace.statements.imports(name)
        if isinstance(statement.node, ast.Import | ast.ImportFrom)
        for alias in statement.node.names
        if (alias.asname or alias.name.partition(".")[0]) == name
    ]
    live = [(node, alias) for node, alias in known if _brings(node, alias, value)] or known
    # `import xml.dom` and `import xml.etree` both bind `xml`
    submodules = [
        (node, alias)
        for node, alias in live[1:]
        if isinstance(node, ast.Import) and "." in alias.name
    ]
    return [*live[:1], *submodules]


def _made(name: str, value: Any, draft: Draft) -> tuple[str, str]:
    """Return an import line for an object that no statement names, as after `import *`."""
    if isinstance(value, ModuleType):
        module, line = value.__name__, f"import {value.__name__}"
        own = module
    else:
        module, own = (str(getattr(value, key, "")) for key in ("__module__", "__name__"))
        home = _starred(name, value, draft.namespace)
        if home is not None:
            return f"from {home} import {name}", home
        if not is_of_module(value):
            raise draft.refusal(
                f"{name} has no known import", f"import it by name: from … import {name}"
            )
        if module == draft.namespace.names.get("__name__"):
            raise draft.refusal(
                f"{name} was not defined by a cell (%run, perhaps)",
                "import it from a module, or define it in a cell",
            )
        line = f"from {module} import {own}"
    return (line if own == name else f"{line} as {name}"), module


def _starred(name: str, value: Any, namespace: Namespace) -> str | None:
    """Return the module of the session's `import *` that brought an object, or None."""
    for statement in namespace.statements.imports("*"):
        module = str(getattr(statement.node, "module", ""))
        if getattr(sys.modules.get(module), name, None) is value:
            return module
    return None


def _brings(node: ast.Import | ast.ImportFrom, alias: ast.alias, value: Any) -> bool:
    """Return whether this import binds the live object."""
    if isinstance(node, ast.Import):
        module = alias.name if alias.asname else alias.name.partition(".")[0]
        return sys.modules.get(module) is value
    submodule = sys.modules.get(f"{node.module}.{alias.name}")
    return value is getattr(sys.modules.get(node.module or ""), alias.name, submodule)
