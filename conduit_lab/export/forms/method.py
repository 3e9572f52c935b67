"""The form of a bound method, such as `embed = embedder.encode`."""

from __future__ import annotations

from typing import Any

from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.module import is_of_module
from conduit_lab.export.forms.value import ExpressionForm
from conduit_lab.export.namespace import Namespace


class MethodForm(ExpressionForm):
    """A bound method is looked up again on the same object."""

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return whether it was imported, or belongs to a module, such as `random.randint`."""
        of_session = value.__module__ == namespace.names.get("__name__")
        return (is_of_module(value) and not of_session) or super().is_imported(
            name, value, namespace
        )

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the attribute of the object that the method is bound to."""
        return f"{draft.find(value.__self__)}.{value.__name__}"
