"""The form of combinators: the call that creates each, children first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from conduit_lab.core.stage import Function
from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.value import ExpressionForm
from conduit_lab.export.literals import is_literal, literal, quoted
from conduit_lab.export.secret import looks_secret
from conduit_lab.flow.combinator import Combinator

_Find = Callable[[Any], str]


class StageForm(ExpressionForm):
    """A combinator of this package is rebuilt from its current stages and settings.

    Nested combinators become nested calls. The user's statement is kept if it is equivalent, if a
    stage has no form of its own, such as a lambda, or if the class is the user's own.
    """

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call that creates the combinator."""
        kind = type(value)
        if not is_of_package(kind) or (isinstance(value, Function) and kind is not Function):
            raise draft.nameless(value)

        def find(child: Any) -> str:
            return _unnamed_function(child, draft) or draft.find(child)

        arguments = list(_arguments(value, find, draft))
        if value.name != _default_name(value):
            arguments.append(f"name={quoted(value.name)}")
        return f"{draft.library(kind)}({', '.join(arguments)})"


def is_of_package(kind: type) -> bool:
    """Return whether a class is defined in this package."""
    return kind.__module__.startswith("conduit_lab.")


def _arguments(stage: Any, find: _Find, draft: Draft) -> Iterator[str]:
    """Yield the arguments of the call that creates a stage, except its name."""
    if isinstance(stage, Function):
        yield find(stage.function)
        return
    parameters = inspect.signature(type(stage)).parameters
    for name, value in stage.arguments.items():
        if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            yield from map(find, value)
        elif isinstance(value, Mapping):
            pairs = (f"{literal(key)}: {find(child)}" for key, child in value.items())
            yield f"{{{', '.join(pairs)}}}"
        elif isinstance(value, tuple):
            yield f"[{', '.join(map(find, value))}]"
        else:
            yield find(value)
    for name, value in stage._settings().items():
        if looks_secret(name, value):
            raise draft.refusal(f"{name}= of {stage.name!r} looks like a secret", "leave it out")
        yield f"{name}={literal(value) if is_literal(value) else find(value)}"


def _unnamed_function(child: Any, draft: Draft) -> str | None:
    """Return the name of a plain function wrapped by its combinator, or None."""
    if type(child) is not Function or draft.namespace.name_of(child) is not None:
        return None
    return draft.find(child.function) if child.name == _default_name(child) else None


def _default_name(stage: Any) -> str:
    if isinstance(stage, Combinator):
        return str(inspect.signature(type(stage)).parameters["name"].default)
    return Function(stage.function).name
