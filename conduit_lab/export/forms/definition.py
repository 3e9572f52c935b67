"""The form of functions and classes: the `def` or `class` statement that defined them."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.core.syntax import parse_expression
from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.forms.module import is_of_module
from conduit_lab.export.forms.value import repeat_assignment
from conduit_lab.export.namespace import Namespace
from conduit_lab.export.state.code import global_names
from conduit_lab.export.statement import Statement


class DefinitionForm(Form):
    """A function or class is exported as its verbatim source, with decorators and comments."""

    def first_name(self, name: str, value: Any, namespace: Namespace) -> str:
        """Return the name that the `def` binds, if it still refers to the function."""
        own = getattr(value, "__name__", name)
        return (
            own if namespace.names.get(own) is value else super().first_name(name, value, namespace)
        )

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return whether it was defined outside the session."""
        inner = _unwrapped(value)
        if isinstance(inner, FunctionType):
            return inner.__globals__ is not namespace.names
        if isinstance(inner, type):
            made = _is_called(namespace.statements.newest(name)) and not is_of_module(inner)
            return inner.__module__ != namespace.names.get("__name__") and not made
        return is_of_module(inner) or super().is_imported(name, value, namespace)

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the public name of a library's object, or the attribute of a session class."""
        found = _public_name(value)
        if found is not None:
            return draft.imported(*found)
        if (source := _lambda(value, draft)) is not None:
            return source
        first, *rest = str(getattr(value, "__qualname__", "")).split(".")
        owner = draft.namespace.names.get(first)
        if isinstance(owner, type) and rest and _attribute(owner, rest) is value:
            return ".".join([draft.find(owner), *rest])
        raise _unnamed(value, draft)

    def statement(self, value: Any, draft: Draft) -> str:
        """Repeat the statement that compiles to the live code."""
        return definition(draft.name, value, draft)


def _lambda(function: Any, draft: Draft) -> str | None:
    """Return the session's source of a lambda, with its current defaults, or None."""
    if getattr(function, "__name__", "") != "<lambda>" or function.__closure__:
        return None
    for statement in reversed(draft.namespace.statements.all):
        for node in ast.walk(statement.node) if "lambda" in statement.text else ():
            # its defaults may be lambdas with code of their own
            if isinstance(node, ast.Lambda) and statement.compiles(
                _with_defaults(node, lambda value: ast.Constant(None)), function
            ):
                draft.needs += [n for n in global_names(function.__code__) if n != draft.name]
                made = _with_defaults(
                    node, lambda value: parse_expression(draft.find(value)), function
                )
                return ast.unparse(made)
    return None


def _with_defaults(
    node: ast.Lambda, found: Callable[[Any], ast.expr], live: FunctionType | None = None
) -> ast.Lambda:
    """Return a lambda whose defaults are expressions of those of the `live` function."""
    given = node.args
    values = [None] * len(given.defaults) if live is None else live.__defaults__ or ()
    by_name = {} if live is None else live.__kwdefaults__ or {}
    named = [
        default and found(by_name.get(each.arg))
        for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    arguments = ast.arguments(
        given.posonlyargs,
        given.args,
        given.vararg,
        given.kwonlyargs,
        named,
        given.kwarg,
        list(map(found, values)),
    )
    return ast.Lambda(arguments, node.body)


def _public_name(value: Any) -> tuple[str, str] | None:
    """Return the module and the public name of a library's object, or None."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    for module in (getattr(value, "__module__", None), "builtins", "types"):
        home = sys.modules.get(str(module))
        if isinstance(name, str) and _attribute(home, name.split(".")) is value:
            return (home.__name__, name) if home is not None else None
    return None


def _attribute(owner: Any, names: list[str]) -> Any:
    for name in names:
        owner = getattr(owner, name, None)
    return owner


def _unnamed(value: Any, draft: Draft) -> ExportError:
    """Return the error for an unnamed function, such as an earlier version of a redefined one."""
    inner = _unwrapped(value)
    name = str(getattr(inner, "__name__", ""))
    names = draft.namespace.names
    of_session = getattr(inner, "__globals__", None) is names or (
        isinstance(inner, type) and inner.__module__ == names.get("__name__")
    )
    newest = draft.namespace.statements.newest(name)
    if newest is not None and newest.decorated and _makes(newest, inner):
        return draft.nameless(value)  # its decorator put another object under its name
    bound = draft.namespace.statements.binding(name)
    if any(isinstance(statement.node, ast.For | ast.While) for statement in bound):
        return draft.nameless(value)  # of an earlier iteration
    if of_session and name in names and not getattr(inner, "__closure__", None):
        return draft.refusal(
            f"{draft.name} holds an earlier {name}", f"run the cell that makes {draft.name} again"
        )
    return draft.nameless(value)


def definition(name: str, value: Any, draft: Draft, path: str = "") -> str:
    """Return the source of a function or class; of several, the one decorated with `path`."""
    inner = _unwrapped(value)
    if not isinstance(inner, FunctionType | type):
        return repeat_assignment(value, draft)
    found = _candidates(name, value, draft.namespace)
    if not found and isinstance(inner, type) and _is_called(draft.own):
        return repeat_assignment(value, draft)  # namedtuple(…), Enum("Color", …)
    layers: tuple[Any, ...] = (inner,) if found else (inner, value)
    for layer in layers:
        if getattr(layer, "__closure__", None):
            decorated = [s for s in draft.namespace.statements.all if path and s.mentions(path)]
            if decorated:  # an endpoint whose decorated function has a name of its own
                return draft.remake(decorated[-1])
            own = draft.own
            if own is not None and _made_in(own, name):
                return repeat_assignment(value, draft)  # the proof compares its variables
            free = ", ".join(layer.__code__.co_freevars)
            raise draft.refusal(
                f"{name} is defined inside another function and captures its {free}",
                "define it at the top level",
            )
    if inner is not value and not found:  # decorated by a call, not with decorator syntax
        return repeat_assignment(value, draft)
    if isinstance(inner, FunctionType):
        found = [statement for statement in found if statement.makes(inner)]
    found = [statement for statement in found if statement.mentions(path)] or found
    if not found and (source := _lambda(value, draft)) is not None:
        return f"{name} = {source}"
    if not found and getattr(getattr(inner, "__code__", None), "co_filename", "") == "<string>":
        raise draft.refusal(f"{name} was compiled from text", "write its def in a cell")
    if not found:
        raise draft.refusal(
            f"the live {name} differs from every definition in this session",
            "run its cell again, without a cell magic",
        )
    return draft.remake(found[0]) + _renamed(name, inner.__name__, draft)


def _makes(statement: Statement, inner: Any) -> bool:
    if isinstance(inner, FunctionType):
        return statement.makes(inner)
    return isinstance(statement.node, ast.ClassDef) and statement.node.name == inner.__name__


def _made_in(own: Statement, name: str) -> bool:
    """Return whether a statement makes a function of a factory: by its decorator or as a call."""
    if isinstance(own.node, ast.FunctionDef | ast.AsyncFunctionDef):
        return own.decorated and own.node.name == name
    return _is_called(own)


def _is_called(statement: Statement | None) -> bool:
    """Return whether a statement assigns the result of a call."""
    return statement is not None and isinstance(statement.assigned, ast.Call)


def _renamed(name: str, made: str, draft: Draft) -> str:
    """Return the statement that binds a definition to its only name, if it is a different one."""
    if made in (name, "<lambda>"):
        return ""
    if made in draft.namespace.names:
        raise draft.refusal(f"{name} holds an earlier {made}", "rename the newer one")
    return f"\n\n\n{name} = {made}"


def is_wrapper(value: Any) -> bool:
    """Return whether a callable stores the function it decorates in `__wrapped__`."""
    if not callable(value) or inspect.getattr_static(value, "__wrapped__", None) is None:
        return False
    return isinstance(inspect.unwrap(value), FunctionType | type)


def _unwrapped(value: Any) -> Any:
    return inspect.unwrap(value) if is_wrapper(value) else value


def _candidates(name: str, value: Any, namespace: Namespace) -> list[Statement]:
    """Return the statements that may have defined a function or class, newest first."""
    inner = _unwrapped(value)
    if inner.__name__ == "<lambda>":
        newest = namespace.statements.newest(name)
        return [] if newest is None else [newest]
    found = namespace.statements.definitions(inner.__name__)
    return [s for s in found if s.decorated] if inner is not value else found
