"""The form of a path: relative to the exported folder where it lies in the project."""

from __future__ import annotations

from pathlib import PurePath

from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.literals import quoted


class PathForm(Form):
    """A path below the root starts at the exported folder, and a file there is copied."""

    def statement(self, value: PurePath, draft: Draft) -> str:
        """Return the path in terms of `HERE` or `Path`."""
        root = draft.assets.root
        if (root / value).is_relative_to(root) and (root / value).is_file():
            draft.assets.add_named(root / value, draft.shown_chain)
        if not value.is_relative_to(root):
            return f"{draft.name} = Path({quoted(value.as_posix())})"
        inside = value.relative_to(root).as_posix()
        return f"{draft.name} = HERE" + ("" if inside == "." else f" / {quoted(inside)}")
