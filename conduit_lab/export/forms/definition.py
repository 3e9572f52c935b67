"""The form of functions and classes: the `def` or `class` statement that made them."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any

from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.forms.value import repeat_assignment
from conduit_lab.export.namespace import Namespace
from conduit_lab.export.statements import Statement


class DefinitionForm(Form):
    """A function or class is its own source, word for word, with decorators and comments."""

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return whether it was defined elsewhere than in the session."""
        inner = _unwrapped(value)
        if isinstance(inner, FunctionType):
            return inner.__globals__ is not namespace.names
        return getattr(inner, "__module__", None) != namespace.names.get("__name__")

    def statement(self, value: Any, draft: Draft) -> str:
        """Repeat the statement whose code is the live code."""
        return definition(draft.name, value, draft)


def definition(name: str, value: Any, draft: Draft, path: str = "") -> str:
    """Return the source of a function or class; among several, the one decorated with `path`."""
    inner = _unwrapped(value)
    found = _candidates(name, value, draft.namespace)
    for layer in (inner,) if found else (inner, value):
        if getattr(layer, "__closure__", None):
            free = ", ".join(layer.__code__.co_freevars)
            raise draft.refusal(
                f"{name} is defined inside another function and holds on to its {free}",
                "define it at the top level",
            )
    if inner is not value and not found:  # decorated by a call, not by a decorator
        return repeat_assignment(value, draft)
    if isinstance(inner, FunctionType):
        found = [statement for statement in found if statement.makes(inner)]
    found = [statement for statement in found if statement.mentions(path)] or found
    if not found:
        raise draft.refusal(
            f"the live {name} differs from every definition in this session",
            "run its cell again, without a magic around it",
        )
    return draft.repeat(found[0])


def is_wrapper(value: Any) -> bool:
    """Return whether a callable keeps the function that it decorates in `__wrapped__`."""
    if not callable(value) or inspect.getattr_static(value, "__wrapped__", None) is None:
        return False
    return isinstance(inspect.unwrap(value), FunctionType | type)


def _unwrapped(value: Any) -> Any:
    return inspect.unwrap(value) if is_wrapper(value) else value


def _candidates(name: str, value: Any, namespace: Namespace) -> list[Statement]:
    """Return the statements that may have made a function or class, newest first."""
    inner = _unwrapped(value)
    if inner.__name__ == "<lambda>":
        newest = namespace.statements.newest(name)
        return [] if newest is None else [newest]
    found = namespace.statements.definitions(inner.__name__)
    return [s for s in found if s.decorated] if inner is not value else found
