"""Evaluation: evaluate a session's own expression if doing so has no side effects."""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import sys
import types
from collections.abc import Iterable
from typing import Any

from conduit_lab.export.forms.record_class import is_generated_record

# calls that depend only on their arguments and have no side effects
_PURE: dict[str, str] = {
    "builtins": "abs all any bin bool bytearray bytes chr complex dict divmod enumerate float "
    "format frozenset hex int len list max min object oct ord pow range reversed round set slice "
    "sorted str sum tuple vars zip",
    "collections": "ChainMap Counter OrderedDict defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "functools": "cache lru_cache partial partialmethod",
    "itertools": "chain count cycle repeat",
    "logging": "getLogger",
    "numpy": "arange array asarray bool_ complex64 complex128 datetime64 dtype empty eye float16 "
    "float32 float64 full identity int8 int16 int32 int64 linspace ones timedelta64 uint8 uint16 "
    "uint32 uint64 zeros",
    "numpy.random": "default_rng RandomState",
    "operator": "attrgetter itemgetter methodcaller",
    "pandas": "Categorical DataFrame Index MultiIndex Series Timedelta Timestamp date_range",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "random": "Random",
    "re": "compile",
    "string": "Template",
    "types": "MappingProxyType SimpleNamespace",
    "uuid": "UUID",
    "zoneinfo": "ZoneInfo",
}
_PURE_MODULES = ("math", "cmath", "statistics")
_HARMLESS = (
    ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Starred, ast.BinOp, ast.UnaryOp,
    ast.BoolOp, ast.Compare, ast.IfExp, ast.JoinedStr, ast.FormattedValue, ast.keyword,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.comprehension, ast.Slice,
    ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_SUBSCRIPTED = (list, tuple, dict, str, bytes)
# operations of an `__init__` that only sets attributes of its instance
_SETTING = frozenset(
    {"RESUME", "LOAD_FAST", "LOAD_CONST", "STORE_FAST", "STORE_ATTR", "BUILD_LIST", "BUILD_MAP",
     "BUILD_TUPLE", "BUILD_SET", "BUILD_CONST_KEY_MAP", "LIST_EXTEND", "SET_UPDATE", "PRECALL",
     "CALL", "CACHE", "KW_NAMES", "LOAD_GLOBAL", "BINARY_OP", "RETURN_VALUE", "RETURN_CONST",
     "LOAD_FAST_LOAD_FAST", "LOAD_SMALL_INT", "CALL_KW", "NOP", "LOAD_FAST_BORROW",
     "LOAD_FAST_BORROW_LOAD_FAST_BORROW"}
)  # fmt: skip


class ImpureError(Exception):
    """The expression may have side effects, or read more than the session's names."""


def evaluated(node: ast.expr, names: dict[str, Any]) -> Any:
    """Evaluate an expression among live names; raise `ImpureError` if that is not safe.

    Errors raised by the expression itself propagate.
    """
    _Check(names).visit(node)
    code = compile(ast.Expression(node), "<export>", "eval", dont_inherit=True)
    return eval(code, {**names})


class _Check(ast.NodeVisitor):
    """Visit the parts of an expression; raise `ImpureError` for any that may have side effects."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names

    def generic_visit(self, node: ast.AST) -> None:
        if not isinstance(node, _HARMLESS):
            raise ImpureError
        super().generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        """Accept: a name has no side effects."""

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Check only the defaults of a lambda."""
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not isinstance(node.value, ast.Call):
            self._resolved(node)
            return
        self.visit(node.value)  # a method of a newly created object
        found = inspect.getattr_static(self._resolved(node.value.func), node.attr, None)
        if type(found) is not types.FunctionType:
            raise ImpureError

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if type(self._resolved(node.value)) not in _SUBSCRIPTED:
            raise ImpureError
        self.visit(node.slice)

    def visit_Call(self, node: ast.Call) -> None:
        method = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Constant)
        if not method and not is_pure(self._resolved(node.func)):
            raise ImpureError
        for each in [*node.args, *node.keywords]:
            self.visit(each)

    def _resolved(self, node: ast.expr) -> Any:
        """Return the live object of a name, or of attributes that are plainly stored."""
        if isinstance(node, ast.Name):
            found = self._names.get(node.id, getattr(builtins, node.id, None))
            if found is None:
                raise ImpureError
            return found
        if isinstance(node, ast.Attribute):
            owner = self._resolved(node.value)
            if isinstance(owner, types.ModuleType):
                return getattr(owner, node.attr)
            held = vars(owner) if hasattr(type(owner), "__dict__") else {}
            if node.attr in held and not hasattr(type(held[node.attr]), "__get__"):
                return held[node.attr]
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            owner = self._resolved(node.value)
            if type(owner) in _SUBSCRIPTED:
                return owner[node.slice.value]
        raise ImpureError


def is_pure(call: Any) -> bool:
    """Return whether calling an object only computes a value from its arguments."""
    name = getattr(call, "__name__", None)
    module = getattr(call, "__module__", None)
    if not isinstance(name, str) or not isinstance(module, str):
        return False
    if module in _PURE_MODULES:
        return True
    for home, known in _PURE.items():
        if name in known.split() and getattr(sys.modules.get(home), name, None) is call:
            return True
    return isinstance(call, type) and (is_generated_record(call) or _only_sets(call))


def _only_sets(kind: Any) -> bool:
    """Return whether instantiating a class only sets attributes of the instance."""
    plain: Any = object
    if type(kind) is not type or kind.__new__ is not plain.__new__:
        return False
    if kind.__setattr__ is not plain.__setattr__:
        return False
    init: Any = next(vars(each)["__init__"] for each in kind.__mro__ if "__init__" in vars(each))
    if init is plain.__init__:
        return True
    return type(init) is types.FunctionType and _sets_attributes(init, kind)


def _sets_attributes(init: types.FunctionType, kind: type) -> bool:
    code = init.__code__
    if not code.co_argcount or init.__closure__:
        return False
    before = ""
    for each in dis.get_instructions(code):
        if each.opname not in _SETTING:
            return False
        if each.opname == "STORE_ATTR" and (
            not before.endswith(code.co_varnames[0]) or hasattr(kind, str(each.argval))
        ):
            return False
        if each.opname == "LOAD_GLOBAL" and not _is_safe_global(init, str(each.argval)):
            return False
        if each.opname not in ("CACHE", "NOP"):
            shown = each.argval if isinstance(each.argval, str) else " ".join(_texts(each.argval))
            before = str(shown)
    return True


def _is_safe_global(init: types.FunctionType, name: str) -> bool:
    value = init.__globals__.get(name, getattr(builtins, name, None))
    return is_pure(value) if callable(value) else name in init.__globals__


def _texts(value: Any) -> Iterable[str]:
    return (str(each) for each in value) if isinstance(value, tuple) else ()
