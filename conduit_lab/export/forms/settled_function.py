"""The form of a function with settings, such as `weighted([2, 1])`: the call that makes it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.stage import is_of_package
from conduit_lab.export.forms.value import ObjectForm
from conduit_lab.export.literals import is_literal, literal


class SettledFunctionForm(ObjectForm):
    """A callable frozen dataclass of this package becomes a call of its class with its fields.

    A named one is created by the user's own statement, like any other object.
    """

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call of its class."""
        items = [getattr(value, each.name) for each in fields(value) if each.init]
        arguments = [literal(item) if is_literal(item) else draft.find(item) for item in items]
        return f"{draft.library(type(value))}({', '.join(arguments)})"


def is_settled_function(value: Any) -> bool:
    """Return whether a value is a callable frozen dataclass of this package."""
    kind = type(value)
    if not (is_dataclass(kind) and callable(value) and is_of_package(kind)):
        return False
    return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]
