"""The form of an endpoint: its decorated function, and the models that the decorator names."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conduit_lab.core.paths import resolve
from conduit_lab.export.effects import run_at_once
from conduit_lab.export.forms.definition import definition
from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.namespace import Namespace, function_of
from conduit_lab.export.statement import Statement


class EndpointForm(Form):
    """An endpoint is exported once, as its decorated definition, even if other objects hold it."""

    def key(self, value: Any) -> str:
        """Return the endpoint's method and path."""
        return f"{value.method} {value.path}"

    def binds(self, name: str, value: Any, namespace: Namespace) -> Sequence[str]:
        """Return the function's own name, unless a call registers it under another one."""
        call = registration(value, namespace)
        return (value.name,) if call is None or value.name in call.bound_names else ()

    def first_name(self, name: str, value: Any, namespace: Namespace) -> str:
        """Return the name that the `def` binds, if it still refers to the endpoint."""
        own = str(value.name)
        return (
            own if namespace.names.get(own) is value else super().first_name(name, value, namespace)
        )

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return False: an app's endpoints are written into its own file."""
        return False

    def statement(self, value: Any, draft: Draft) -> str:
        """Repeat the definition or the call that contains the endpoint's path."""
        check_app(value, draft)
        for path in value.files:
            _add_model(path, draft)
        call = registration(value, draft.namespace)
        if call is None:
            function = function_of(value)
            if getattr(function, "__globals__", None) is not draft.namespace.names:
                module, app = function.__module__, draft.namespace.app_name
                raise draft.refusal(
                    f"{value.name} is served by no statement of this session",
                    f"define it at the top level of {module}, and serve it in a cell: "
                    f'{app}.{value.method.lower()}("{value.path}")({module}.{value.name})',
                )
            return definition(value.name, function_of(value), draft, value.path)
        if call.rebinds(value.name):  # ask = app.post("/ask")(ask), a change of the definition
            return definition(value.name, function_of(value), draft)
        draft.needs += [value.name] * (value.name in call.free_names)
        return draft.repeat(call)


def registration(endpoint: Any, namespace: Namespace) -> Statement | None:
    """Return the statement that serves a function by a call, `app.post(path)(function)`, or None.

    A decorator with the endpoint's path comes first. A call may compute its path, as in a loop.
    """
    statements = namespace.statements
    if any(each.mentions(endpoint.path) for each in statements.definitions(endpoint.name)):
        return None
    calls = [(each, _served(each, namespace.app_name)) for each in reversed(statements.all)]
    named = [each for each, served in calls if served and each.holds(endpoint.path)]
    verb = endpoint.method.lower()
    exact = [each for each, served in calls if verb in dict(served) and each in named]
    computed = [each for each, served in calls if None in dict(served).values()]
    return next(iter([*exact, *named, *computed]), None)


def _served(statement: Statement, app_name: str) -> list[tuple[str, str | None]]:
    """Return the app's decorators that a statement calls with a function, each with its path.

    A path that the statement computes is None.
    """
    if isinstance(statement.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return []
    found: list[tuple[str, str | None]] = []
    for part in run_at_once(statement.node):
        match part:
            case ast.Call(ast.Call(ast.Attribute(ast.Name(owner), verb), arguments)) if (
                owner == app_name
            ):
                path = getattr(next(iter(arguments), None), "value", None)
                found.append((verb, path if isinstance(path, str) else None))
    return found


def check_app(endpoint: Any, draft: Draft) -> None:
    """Refuse an endpoint of another app."""
    if endpoint.app is not draft.namespace.app:
        raise draft.refusal(
            f"{endpoint.name} belongs to another app", "call a plain function from both endpoints"
        )


def _add_model(path: str | Path, draft: Draft) -> None:
    """Add a model that the decorator names by path."""
    root = draft.assets.root
    place = resolve(path, root)
    if not place.exists():
        draft.warnings.append(f"{path} is missing; in the exported app too its fallback answers")
    elif isinstance(path, str) and Path(path).is_absolute() and place.is_relative_to(root):
        raise draft.refusal(f"{path} is an absolute path", f"write it relative to {root}")
    else:
        draft.assets.add_named(place, draft.shown_chain)
