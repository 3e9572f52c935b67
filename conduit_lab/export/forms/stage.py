"""The form of the combinators: the call that makes each, its children first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from conduit_lab.core.stage import Function, Stage
from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.value import ExpressionForm
from conduit_lab.export.literals import literal, quoted
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.route import Route
from conduit_lab.flow.sequential import Sequential

_Find = Callable[[Any], str]


class _NoForm(Exception):
    """A child without a name and without an expression of its own."""


def _in_order(stage: Any, find: _Find) -> list[str]:
    return [find(child) for child in stage.stages]


def _by_name(stages: Mapping[str, Stage], find: _Find) -> str:
    return "{" + ", ".join(f"{literal(key)}: {find(child)}" for key, child in stages.items()) + "}"


# the arguments of each combinator, without its name
ARGUMENTS: dict[type[Stage], Callable[[Any, _Find], list[str]]] = {
    Sequential: _in_order,
    Fallback: _in_order,
    Parallel: lambda stage, find: [_by_name(stage.stages, find)],
    Route: lambda stage, find: [find(stage.choose), _by_name(stage.stages, find)],
    Ensemble: lambda stage, find: [
        f"[{', '.join(map(find, stage.models))}]",
        find(stage.combine),
    ],
    Function: lambda stage, find: [find(stage.function)],
}


class StageForm(ExpressionForm):
    """A combinator is made of the stages that it holds now, nested ones inside its own call.

    The user's statement stays where it says the same, and where a stage has no form of its own,
    such as a lambda.
    """

    exact = True

    def expression(self, value: Any, draft: Draft) -> str | None:
        """Return the call that makes the combinator; None where a stage of it has no form."""

        def find(child: Any) -> str:
            found = _unnamed_function(child, draft) or draft.find(child)
            if found is None:
                _check_current(child, draft)
                raise _NoForm
            return found

        try:
            arguments = ARGUMENTS[type(value)](value, find)
        except _NoForm:
            return None
        if value.name != _default_name(value):
            arguments.append(f"name={quoted(value.name)}")
        return f"{draft.library(type(value))}({', '.join(arguments)})"


def _check_current(child: Any, draft: Draft) -> None:
    """Refuse an earlier version of a function: the user's statement would take the newer one."""
    function = getattr(child, "function", child)
    names = draft.namespace.names
    if not isinstance(function, FunctionType) or function.__globals__ is not names:
        return
    name = function.__name__
    if name in names and function.__closure__ is None:
        raise draft.refusal(
            f"{draft.name} holds an earlier {name}", f"run the cell that makes {draft.name} again"
        )


def _unnamed_function(child: Any, draft: Draft) -> str | None:
    """Return the name of a plain function that its combinator wrapped, or None."""
    if type(child) is not Function or draft.namespace.name_of(child) is not None:
        return None
    return draft.find(child.function) if child.name == _default_name(child) else None


def _default_name(stage: Any) -> str:
    if type(stage) is Function:
        return Function(stage.function).name
    return str(inspect.signature(type(stage)).parameters["name"].default)
