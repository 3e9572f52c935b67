"""Library changes: session statements that set a library's options, or patch it.

Project modules count as libraries here.

The endpoints' code names none of the objects that they change, but the library behaves differently
without them.
"""

from __future__ import annotations

import ast
import builtins
import logging
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

from conduit_lab.export.namespace import Namespace
from conduit_lab.export.state.anatomy import attributes_of, is_kind, module_of
from conduit_lab.export.statement import Statement

# calls with process-wide effect
_SETTERS = {
    "codecs": ("register", "register_error"),
    "copyreg": ("pickle", "constructor", "add_extension"),
    "csv": ("field_size_limit", "register_dialect"),
    "logging": ("addLevelName", "basicConfig", "captureWarnings", "disable", "setLoggerClass"),
    "mimetypes": ("add_type", "init"),
    "pandas": ("set_option", "reset_option"),
    "socket": ("setdefaulttimeout",),
    "sqlite3": ("register_adapter", "register_converter"),
    "sys": ("setrecursionlimit", "set_int_max_str_digits"),
    "warnings": ("filterwarnings", "simplefilter"),
}
_FOR_EVERY_CALL = (
    "codecs",
    "copyreg",
    "socket",
    "sys",
    "warnings",
)  # whether or not code names the module
# patches of these do not count
_OF_THE_MACHINE = ("os", "sys", "IPython", "conduit_lab", "builtins", "site")


def library_changes(namespace: Namespace, modules: set[str]) -> Iterator[tuple[Statement, str]]:
    """Yield statements that change one of the `modules`, each with the name at its root.

    `modules` are the top-level names of the libraries that the endpoints' code uses.
    """
    names = namespace.names
    for statement in namespace.statements.all:
        node = statement.node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found = _set_by(node.value, names, modules)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
            found = "" if _is_undone(node, names) else _patched_at(targets, names, modules)
        else:
            continue
        if found:
            yield statement, found


def _set_by(call: ast.Call, names: dict[str, Any], modules: set[str]) -> str:
    """Return the root name of a call that sets a library's option, or ""."""
    called, root = _resolved(call.func, names), _root(call.func)
    if called is setattr and call.args:
        return _patched_at([ast.Attribute(call.args[0], "", ast.Store())], names, modules)
    for home, setters in _SETTERS.items():
        module = sys.modules.get(home)
        known = [getattr(module, each, None) for each in setters]
        if called is not None and any(called is each for each in known):
            # does not affect answers
            is_shown = home == "warnings" and not _mentions(call, "error")
            return root if (home in modules or home in _FOR_EVERY_CALL) and not is_shown else ""
    match call.func:  # logging.getLogger("shop").setLevel(…)
        case ast.Attribute(ast.Call(maker)) if "logging" in modules:
            return root if _resolved(maker, names) is logging.getLogger else ""
    return ""


def _patched_at(targets: Sequence[ast.expr], names: dict[str, Any], modules: set[str]) -> str:
    """Return the root name of a target that belongs to a library, or ""."""
    for target in targets:
        is_stored = isinstance(target, ast.Attribute | ast.Subscript)
        if is_stored and not any(isinstance(part, ast.Call) for part in ast.walk(target)):
            root = _root(target)
            value = names.get(root)
            home = home_of(value)
            is_part = is_kind(type(value), (types.ModuleType, type))
            if is_part and home and home in modules and home not in _OF_THE_MACHINE:
                return root
    return ""


def _is_undone(node: ast.AST, names: dict[str, Any]) -> bool:
    """Return whether a module no longer holds the constant assigned to it: it was reloaded."""
    match node:
        case ast.Assign([ast.Attribute(owner, name)], ast.Constant(given)):
            module = _resolved(owner, names)
            if is_kind(type(module), types.ModuleType) and name in vars(module):
                live = vars(module)[name]
                return type(live) is not type(given) or live != given
    return False


def home_of(value: Any) -> str:
    """Return the top-level name of the module that defines an object or its type, or "".

    Includes project modules; the session's own names have none.
    """
    kind = type(value)
    if is_kind(kind, types.ModuleType):
        module = value
    else:
        is_code = kind in (types.FunctionType, types.BuiltinFunctionType)
        name = value.__module__ if is_code else module_of(value if is_kind(kind, type) else kind)
        module = sys.modules.get(str(name))
    held = {} if module is None else vars(module)
    top = str(held.get("__name__", "")).partition(".")[0]
    is_module = held.get("__file__") is not None or top in sys.stdlib_module_names
    return top if is_module and top != "__main__" else ""


def _resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return the object of a dotted name rooted at a module, or None."""
    if isinstance(node, ast.Name):
        return names.get(node.id, getattr(builtins, node.id, None))
    if isinstance(node, ast.Attribute):
        owner = _resolved(node.value, names)
        if is_kind(type(owner), types.ModuleType):
            return vars(owner).get(node.attr)
        if is_kind(type(owner), type):
            return attributes_of(owner).get(node.attr)
    return None


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _mentions(call: ast.Call, text: str) -> bool:
    return any(isinstance(node, ast.Constant) and node.value == text for node in ast.walk(call))
