"""Effects: the names that a statement binds, and the names whose objects it changes."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from typing import Literal

# "store": sets or deletes a part of the object, or decorates a function with it. "method": calls a
# method of the object and discards the result. "argument": passes the object to such a call.
ChangeKind = Literal["store", "method", "argument"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.ClassDef
_Scope = _Definition | ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

# builtins that change an argument, unlike `print` or `len`
_CHANGING_BUILTINS = frozenset({"next", "exec", "eval"})
_SETTING_BUILTINS = ("setattr", "delattr")
_TAKING = frozenset(
    {"pop", "popitem", "popleft", "setdefault"}
)  # methods whose result was part of the object
_SHOWING_NAMES = frozenset(
    {"display", "pprint", "head", "tail", "info", "describe", "show", "plot", "print", "summary"}
)


def bound_names(node: ast.stmt) -> Iterator[str]:
    """Yield the names that running a statement binds."""
    for part in run_at_once(node):
        if isinstance(part, _Definition):
            yield part.name
        elif isinstance(part, ast.Import | ast.ImportFrom):
            for alias in part.names:
                yield alias.asname or alias.name.partition(".")[0]
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, ast.ExceptHandler) and part.name:
            yield part.name


def changes(node: ast.stmt) -> dict[str, ChangeKind]:
    """Return the names whose objects a statement changes, each with the most certain change.

    A call whose result is used, as in `total = add(items)`, does not count as a change of `items`.
    """
    found: dict[str, ChangeKind] = {}
    rank = ("argument", "method", "store")
    for name, change in _changes(node):
        if name not in found or rank.index(change) > rank.index(found[name]):
            found[name] = change
    return found


def run_at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and its descendants that run with it, excluding function bodies."""
    yield node
    for child in _children(node):
        yield from run_at_once(child)


def _children(node: ast.AST) -> Iterable[ast.AST]:
    if isinstance(node, _Function):
        return [*node.decorator_list, *_defaults(node.args), *_annotations(node)]
    if isinstance(node, ast.ClassDef):  # the names in its body are local to it
        return [*node.decorator_list, *node.bases, *node.keywords]
    if isinstance(node, ast.Lambda):
        return _defaults(node.args)
    if isinstance(node, _Scope):
        return [
            part
            for part in ast.iter_child_nodes(node)
            for part in ([part.iter, *part.ifs] if isinstance(part, ast.comprehension) else [part])
        ]
    return ast.iter_child_nodes(node)


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [*arguments.defaults, *(each for each in arguments.kw_defaults if each is not None)]


def _annotations(node: _Function) -> list[ast.expr]:
    places = [
        *node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs,
        *filter(None, (node.args.vararg, node.args.kwarg)),
    ]  # fmt: skip
    found = [place.annotation for place in places] + [node.returns]
    return [each for each in found if each is not None]


def _changes(node: ast.stmt) -> Iterator[tuple[str, ChangeKind]]:
    for part in run_at_once(node):
        if isinstance(part, ast.Attribute | ast.Subscript):
            if not isinstance(part.ctx, ast.Load):
                yield from _of(part.value, "store")
        elif isinstance(part, ast.AugAssign):
            yield from _of(part.target, "store")
        elif isinstance(part, _Definition):
            for decorator in part.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if isinstance(called, ast.Attribute):
                    yield from _of(called.value, "store")
        elif isinstance(part, ast.Expr):
            value = part.value.value if isinstance(part.value, ast.Await) else part.value
            if isinstance(value, ast.Call):
                yield from _call_changes(value)
        elif isinstance(part, ast.Call):
            match part.func:
                case ast.Attribute(owner, method) if method in _TAKING:
                    yield from _of(owner, "method")


def _call_changes(call: ast.Call) -> Iterator[tuple[str, ChangeKind]]:
    called = call.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    if name in _SHOWING_NAMES:
        return
    if isinstance(called, ast.Attribute):
        yield from _of(called.value, "method")
    elif name in _SETTING_BUILTINS and call.args:
        yield from _of(call.args[0], "store")
    elif hasattr(builtins, name) and name not in _CHANGING_BUILTINS:
        return
    for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
        yield from _of(argument, "argument")


def _of(node: ast.expr, change: ChangeKind) -> Iterator[tuple[str, ChangeKind]]:
    """Yield the root name of `name`, `name.x` or `name[key]`, with the change."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id, change
