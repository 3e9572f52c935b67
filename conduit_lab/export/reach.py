"""Reach: the functions that a call to an endpoint may run, and the objects that they use."""

from __future__ import annotations

import builtins
import dis
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from conduit_lab.core.stage import Function, Stage
from conduit_lab.export.state.anatomy import attributes_of, instance_parts, is_kind, mro_of
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint

_MAX_OBJECTS = 20_000
_MAX_ITEMS = 1000  # of a container; larger ones hold data rather than functions
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
_LOCALS = ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_DEREF")
_STORES = ("STORE_FAST", "STORE_NAME", "STORE_DEREF")
_BETWEEN = ("PRECALL", "PUSH_NULL", "CACHE", "RESUME", "EXTENDED_ARG", "NOP")
_MISSING = object()


class Use(NamedTuple):
    """A dotted name in a function, its current object, and whether the function calls it."""

    name: str
    value: Any
    is_bare_call: bool


def reached(endpoint: Endpoint[..., Any], is_own: Callable[[Any], bool]) -> Iterator[Use]:
    """Yield the objects used by the functions that an endpoint may call.

    `is_own` accepts names of modules that belong to the session or the project.
    """
    pending: list[Any] = [endpoint]
    seen: dict[int, Any] = {}
    while pending and len(seen) < _MAX_OBJECTS:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if type(value) is types.FunctionType and is_own(value.__module__):
            for use in uses(value.__code__, value.__globals__):
                yield use
                pending.append(use.value)
        pending += below(value, is_own)


def uses(code: types.CodeType, names: Mapping[str, Any]) -> Iterator[Use]:
    """Yield the dotted names in `code` that start at a global, a builtin or an import."""
    imported: dict[str, Any] = {}  # local names bound by imports
    last_import: Any = _MISSING
    chain: list[str] = []
    value: Any = _MISSING
    for each in dis.get_instructions(code):
        operation = each.opname
        if operation in _BETWEEN:
            continue
        if operation in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain.append(str(each.argval))
            value = _attribute(value, str(each.argval))
            continue
        if chain and value is not _MISSING:
            is_bare = operation.startswith("CALL") and each.arg == 0
            yield Use(".".join(chain), value, is_bare)
        chain = []
        if operation in _LOADS:
            chain = [str(each.argval)]
            value = names.get(chain[0], getattr(builtins, chain[0], _MISSING))
            if value is not _MISSING:  # even if one of its attributes cannot be resolved
                yield Use(chain[0], value, False)
        elif operation in _LOCALS and each.argval in imported:
            chain, value = [str(each.argval)], imported[each.argval]
        elif operation == "IMPORT_NAME":
            last_import = sys.modules.get(str(each.argval), _MISSING)
            top = sys.modules.get(str(each.argval).partition(".")[0], _MISSING)
            from_import = last_import
            last_import = top
        elif operation == "IMPORT_FROM":
            last_import = _attribute(from_import, str(each.argval))
        elif operation in _STORES and last_import is not _MISSING:
            imported[str(each.argval)], last_import = last_import, _MISSING
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from uses(constant, names)


def own_modules(app: App, endpoint: Endpoint[..., Any]) -> Callable[[Any], bool]:
    """Return a predicate for names of the session's and the project's own modules."""
    own = getattr(getattr(endpoint, "function", None), "__module__", "")
    root = app.root

    def is_own(module: Any) -> bool:
        if module == own:
            return True
        file = getattr(sys.modules.get(str(module)), "__file__", None)
        path = Path(file) if isinstance(file, str) else None
        return path is not None and path.is_relative_to(root) and "site-packages" not in path.parts

    return is_own


def below(value: Any, is_own: Callable[[Any], bool]) -> list[Any]:
    """Return the objects that a call of `value` uses implicitly, without naming them."""
    kind = type(value)
    if isinstance(value, Endpoint):
        return [getattr(value, "function", None), value.then]
    if kind is Function:
        return [value.function]
    if is_kind(kind, Stage):
        return list(value.children)
    if kind is types.FunctionType:
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_set(cell)]
        wrapped = [value.__dict__["__wrapped__"]] if "__wrapped__" in value.__dict__ else []
        return [
            *cells,
            *(value.__defaults__ or ()),
            *(value.__kwdefaults__ or {}).values(),
            *wrapped,
        ]
    if kind is types.MethodType:
        return [value.__func__, value.__self__]
    if is_kind(kind, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if kind in (staticmethod, classmethod):
        return [value.__func__]
    if kind is property:
        return [value.fget, value.fset]
    if kind is dict:
        return list(value.values())[:_MAX_ITEMS]
    if kind in (list, tuple, set, frozenset):
        return list(value)[:_MAX_ITEMS]
    if is_kind(kind, type):
        if not is_own(attributes_of(value).get("__module__")):
            return []
        return [*attributes_of(value).values(), *mro_of(value)[1:]]
    if is_own(attributes_of(kind).get("__module__")):
        return [kind, *(part for _, part in instance_parts(value))]
    return []


def _attribute(value: Any, name: str) -> Any:
    """Return an attribute of a module, a class or a library's object, or `_MISSING`."""
    if value is _MISSING:
        return _MISSING
    kind = type(value)
    if is_kind(kind, types.ModuleType):
        return vars(value).get(name, _MISSING)
    if is_kind(kind, type):
        held = next(
            (attributes_of(k)[name] for k in mro_of(value) if name in attributes_of(k)), None
        )
        if held is None:
            return _MISSING
        return held if type(held) is types.FunctionType else _safe(value, name)
    if any("__getattr__" in attributes_of(base) for base in mro_of(kind)):
        return _MISSING  # reading it would run custom code
    return _safe(value, name)


def _safe(value: Any, name: str) -> Any:
    module = getattr(type(value), "__module__", "")
    owner = getattr(value, "__module__", module) if isinstance(value, type) else module
    if str(owner).partition(".")[0] not in _LIBRARIES:
        return _MISSING
    try:
        return getattr(value, name)
    except Exception:
        return _MISSING


# libraries whose attributes are read: clocks and random generators
_LIBRARIES = frozenset(
    {"builtins", "datetime", "numpy", "os", "pandas", "random", "secrets", "time", "uuid"}
)


def _is_set(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # an empty cell
        return False
