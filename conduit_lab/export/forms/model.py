"""The form of a model: the call that loads it, and its file or folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.literals import literal
from conduit_lab.export.namespace import Namespace
from conduit_lab.models.folder_model import FolderModel

_OPTIONS = ("device", "fallback", "timeout")
_DEFAULTS = (None, "auto")


class ModelForm(Form):
    """A model is loaded by its app from the same path, with its non-default options."""

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return False: a model is its file, no matter where it was loaded."""
        return False

    def files(self, value: Any) -> Sequence[Path]:
        """Return the model's file or folder."""
        return (value.path,)

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call to `load_model`."""
        place = draft.assets.add_model(value.path, draft.shown_chain)
        chosen = {key: getattr(value.options, key) for key in _OPTIONS}
        chosen["variant"] = getattr(value, "variant", None)
        chosen["labels"] = getattr(value, "given_labels", None)
        chosen["remote"] = value.remote or None
        path = PurePosixPath(place)
        default = path.name if isinstance(value, FolderModel) else path.stem
        chosen["name"] = None if value.name == default else value.name
        arguments = [literal(place)]
        arguments += [
            f"{key}={literal(option)}" for key, option in chosen.items() if option not in _DEFAULTS
        ]
        return f"{draft.namespace.app_name}.load_model({', '.join(arguments)})"
