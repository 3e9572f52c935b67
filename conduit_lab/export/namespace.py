"""Namespace: the live names of a session, and the statements that bound them."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from types import FunctionType
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.export.cell_run import CellRun
from conduit_lab.export.effects import bound_names
from conduit_lab.export.reach import own_modules, reached
from conduit_lab.export.refusal import Refusal
from conduit_lab.export.state.anatomy import attributes_of, is_kind, module_of
from conduit_lab.export.state.code import global_names
from conduit_lab.export.statement import Statement
from conduit_lab.export.statements import Statements
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.rag_endpoint import RagEndpoint


class Namespace:
    """The globals in which an app's functions live; `app_name` is the app's name there.

    `statements` come from the session, by default from the module that owns the names.
    """

    def __init__(
        self,
        app: App,
        statements: Sequence[CellRun | str] | None,
        names: dict[str, Any] | None,
        endpoints: Sequence[Endpoint[..., Any]] | None = None,
    ) -> None:
        self.app = app
        self.names = _globals_of(app, names, app.endpoints if endpoints is None else endpoints)
        self.statements = Statements(_cells(self.names, statements))
        self.app_name = self.name_of(app) or "lab"
        self._endpoints = app.endpoints if endpoints is None else endpoints

    def names_of(self, value: Any) -> list[str]:
        """Return the names bound to this object, except those that begin with `_`."""
        names = list(self.names.items())  # a running stream may bind a name meanwhile
        return [name for name, held in names if held is value and not name.startswith("_")]

    def is_used(self, value: Any) -> bool:
        """Return whether the endpoints' code refers to this object by name."""
        return id(value) in self._used

    @cached_property
    def _used(self) -> set[int]:
        app = self.app
        uses = (reached(each, own_modules(app, each)) for each in self._endpoints)
        return {id(use.value) for use in chain(*uses)}

    def name_of(self, value: Any) -> str | None:
        """Return the first name bound to this object, or None."""
        return next(iter(self.names_of(value)), None)

    def origin(self, name: str) -> str:
        """Return the name that an object was first bound to: for `b = a`, the origin of `a`."""
        value, seen = self.names[name], {name}
        while True:
            statement = self.statements.newest(name)
            other = getattr(statement.assigned, "id", None) if statement is not None else None
            if other in seen or other not in self.names or self.names[other] is not value:
                return name
            name = str(other)
            seen.add(name)

    def changes_since(self, name: str, made: Statement, chain: str) -> list[Statement]:
        """Return the statements that changed object `name` since `made` created it, in order.

        Changes through any of its names count. Raises `ExportError` for a change that awaits, which
        a module cannot repeat.
        """
        value = self.names.get(name)
        found = {s.order: s for s in self._changes(name, made)}
        for other in self.names_of(value):
            alias = self.statements.maker(other)
            if alias is not None and alias.order > made.order:
                found |= {s.order: s for s in self._changes(other, alias)}
        for statement in found.values():
            if statement.awaits:
                raise Refusal(
                    f"{name} was changed by {statement.first_line} in cell {statement.cell}, which "
                    "app.py cannot await",
                    chain,
                    "change it inside the function that uses it",
                    ends_with_it=True,
                )
        return [found[order] for order in sorted(found)]

    def _changes(self, name: str, made: Statement) -> Iterator[Statement]:
        """Yield the statements that changed an object through this name.

        A function changes only through its attributes, and a class in a call that receives it only
        if it has attributes that its statement did not bind. A call that passes a function of this
        app is a trial run, not a change.
        """
        value = self.names.get(name)
        is_code = isinstance(value, FunctionType | type | Endpoint)
        gained = has_gained(value, made)
        for statement in self.statements.changes_since(name, made):
            change = statement.changes.get(name)
            goes_on = change is None and (not is_code or statement.rebinds(name))
            if change == "store" or goes_on:
                yield statement
            elif change is not None and (change == "method" or not is_code or gained):
                values = [self.names.get(each) for each in statement.free_names]
                if not any(isinstance(value, Endpoint | App) for value in values):
                    yield statement

    def filling(self, name: str, definitions: Iterable[str]) -> list[Statement]:
        """Return the statements of `definitions` whose decorators use the object `name`."""
        found = dict.fromkeys(chain(*(self.statements.definitions(n)[:1] for n in definitions)))
        used = [s for s in found if self._is_used_by(name, getattr(s.node, "decorator_list", []))]
        return list(dict.fromkeys(map(self.statements.loop_of, used)))

    def _is_used_by(self, name: str, nodes: Sequence[ast.expr]) -> bool:
        """Return whether the expressions, or functions they may call, look up `name`."""
        parts = chain(*map(ast.walk, nodes))
        pending = [part.id for part in parts if isinstance(part, ast.Name)]
        known: set[str] = set()
        while pending:
            used = pending.pop()
            if used == name:
                return True
            if used not in known:
                known.add(used)
                pending += self._code_names(self.names.get(used))
        return False

    def _code_names(self, value: Any) -> list[str]:
        """Return the global names looked up by a function, or by the methods of a class."""
        parts = list(attributes_of(value).values()) if is_kind(type(value), type) else [value]
        codes = [part.__code__ for part in parts if isinstance(part, FunctionType)]
        return [name for code in codes for name in global_names(code)]

    def is_builtin(self, name: str) -> bool:
        """Return whether `name` refers to Python's builtin.

        IPython replaces `open`, `exit` and `quit`.
        """
        if not hasattr(builtins, name):
            return False
        value = self.names.get(name, getattr(builtins, name))
        own = getattr(builtins, name)
        wrapped = inspect.getattr_static(value, "__wrapped__", None)  # of IPython's `open`
        return value is own or wrapped is own or is_notebook_only(value)


def has_gained(kind: Any, made: Statement) -> bool:
    """Return whether a plain class has attributes that its statement did not bind."""
    node = made.node
    if type(kind) is not type or not isinstance(node, ast.ClassDef) or node.decorator_list:
        return False
    bound = {name for each in node.body for name in bound_names(each)}
    gained = attributes_of(kind).keys() - bound
    return any(not name.startswith(("__", f"_{node.name.lstrip('_')}__")) for name in gained)


def function_of(endpoint: Any) -> Any:
    """Return the function of an endpoint; one under two decorators holds another endpoint."""
    while isinstance(endpoint, Endpoint):
        endpoint = endpoint.function
    return endpoint


def is_notebook_only(value: Any) -> bool:
    """Return whether an object belongs to IPython, such as `display`; excludes output of `!cmd`."""
    return (
        not is_shell_output(value)
        and str(getattr(value, "__module__", "")).partition(".")[0] == "IPython"
    )


def is_shell_output(value: Any) -> bool:
    """Return whether an object is IPython's list of a shell command's output lines."""
    kind = type(value)
    return is_kind(kind, list) and module_of(kind) == "IPython.utils.text"


def _cells(names: dict[str, Any], given: Sequence[CellRun | str] | None) -> Sequence[CellRun | str]:
    """Return the cells of a session, preceded by the source of its module, if any."""
    if given is None:
        return [_module_source(names)]
    module = sys.modules.get(str(names.get("__name__")))
    if module is None or vars(module) is not names or getattr(module, "__file__", None) is None:
        return given
    return [_module_source(names), *given]  # `IPython.embed`, or an app that the cells import


def _globals_of(
    app: App, given: dict[str, Any] | None, endpoints: Sequence[Endpoint[..., Any]]
) -> dict[str, Any]:
    """Return the globals of the registered functions.

    An app that serves only a `Rag` has no function: use the `given` names, or the module that holds
    the app.
    """
    if not app.endpoints:
        raise ExportError(
            f"{app.name!r} has no endpoints: register a function first, "
            f'@lab.post("/path") above its def'
        )
    functions = [function_of(e) for e in endpoints if not isinstance(e, RagEndpoint)]
    spaces = {id(function.__globals__): function.__globals__ for function in functions}
    if given is not None and any(value is app for value in list(given.values())):
        return given  # functions of the project's modules may be served beside its own
    if len(spaces) > 1:
        names = sorted(str(space.get("__name__")) for space in spaces.values())
        raise ExportError(
            f"{app.name!r} expected its endpoints in one module, got {', '.join(names)}: "
            "define them in one"
        )
    found: dict[str, Any] | None = next(iter(spaces.values()), given)
    return _module_of(app) if found is None else found


def _module_of(app: App) -> dict[str, Any]:
    for module in list(sys.modules.values()):
        names = vars(module) if hasattr(module, "__dict__") else {}
        if any(value is app for value in list(names.values())):
            return names
    raise ExportError(
        f"no module holds {app.name!r}: assign it to a global name, lab = Lab({app.name!r})"
    )


def _module_source(names: dict[str, Any]) -> str:
    """Return the source of the module that owns these names."""
    module = sys.modules.get(str(names.get("__name__")))
    try:
        return inspect.getsource(module) if module is not None else ""
    except (OSError, TypeError) as error:  # typed interactively, or the file is missing
        raise ExportError(
            "this session has no source: run it from a notebook or a file, or pass statements="
        ) from error
