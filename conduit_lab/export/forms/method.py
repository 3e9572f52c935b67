"""The form of a bound method, such as `embed = embedder.encode`."""

from __future__ import annotations

import inspect
import types
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
        """Return the attribute of the object that the method is bound to.

        A function that was bound by hand is bound again.
        """
        owner, name = draft.find(value.__self__), str(value.__name__)
        if _is_attribute(value, name):
            return f"{owner}.{name}"
        return f"{draft.imported('types', 'MethodType')}({draft.find(value.__func__)}, {owner})"


def _is_attribute(method: Any, name: str) -> bool:
    """Return whether looking up the name on the object of a method gives the method."""
    owner = method.__self__
    kind = owner if isinstance(owner, type) else type(owner)
    found = inspect.getattr_static(kind, name, None)
    inner = getattr(found, "__func__", found)  # of a class method
    if found is None or type(inner) is types.FunctionType:
        return inner is method.__func__
    return True
