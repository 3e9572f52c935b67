"""The form of a bound method, such as `embed = embedder.encode`."""

from __future__ import annotations

import sys
from typing import Any

from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.value import ExpressionForm
from conduit_lab.export.namespace import Namespace


class MethodForm(ExpressionForm):
    """A bound method is looked up on the same object again."""

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return whether it came by an import, or is a module's, such as `random.randint`."""
        module = sys.modules.get(value.__module__)
        of_module = getattr(module, value.__name__, None) is value
        return of_module or super().is_imported(name, value, namespace)

    def expression(self, value: Any, draft: Draft) -> str | None:
        """Return the attribute of the object that the method is bound to."""
        owner = draft.find(value.__self__)
        return None if owner is None else f"{owner}.{value.__name__}"
