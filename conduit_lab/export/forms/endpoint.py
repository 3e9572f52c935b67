"""The form of an endpoint: its decorated function, and the models that the decorator names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conduit_lab.core.paths import resolve
from conduit_lab.export.forms.definition import definition
from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.namespace import Namespace


class EndpointForm(Form):
    """An endpoint is exported once, as its decorated definition, even if other objects hold it."""

    def key(self, value: Any) -> str:
        """Return the endpoint's method and path."""
        return f"{value.method} {value.path}"

    def binds(self, name: str, value: Any, namespace: Namespace) -> Sequence[str]:
        """Return the name of the function."""
        return (value.name,)

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
        """Repeat the definition whose decorator contains the endpoint's path."""
        check_app(value, draft)
        for path in value.files:
            _add_model(path, draft)
        return definition(value.name, value.function, draft, value.path)


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
