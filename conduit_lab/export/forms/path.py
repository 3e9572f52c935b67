"""The form of a path: relative to the exported folder if it lies in the project."""

from __future__ import annotations

from pathlib import Path, PurePath

from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.literals import quoted


class PathForm(Form):
    """A path below the root becomes relative to the exported folder, and its file is copied."""

    def expression(self, value: PurePath, draft: Draft) -> str:
        """Return the path in terms of `HERE` or `Path`."""
        root = draft.assets.root
        if (root / value).is_relative_to(root) and (root / value).is_file():
            draft.assets.add_named(root / value, draft.shown_chain)
        if not value.is_relative_to(root):
            return f"{draft.imported('pathlib', _kind(value))}({quoted(str(value))})"
        inside = value.relative_to(root).as_posix()
        return "HERE" if inside == "." else f"HERE / {quoted(inside)}"


def _kind(path: PurePath) -> str:
    """Return the class name of a path; paths of this system become `Path` on every system."""
    return "Path" if isinstance(path, Path) else type(path).__name__
