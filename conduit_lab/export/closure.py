"""Closure: everything that an app's endpoints need, as source and files.

It starts at the registered endpoints and follows the global names that their code looks up in the
live session. The form of each object (`forms/`) writes it; an object without a form is refused,
with the chain of names that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.export.assets import Assets
from conduit_lab.export.forms.form import Chain, Draft, Form, shown
from conduit_lab.export.forms.form_registry import form_of, form_of_name
from conduit_lab.export.forms.places import ObjectPlaces
from conduit_lab.export.namespace import Namespace, is_notebook_only
from conduit_lab.export.packages import Packages
from conduit_lab.serving.app import App

_MODULE_NAMES = ("__file__", "__name__")


@dataclass(frozen=True)
class SourcePiece:
    """One block of source: the statement for `name`, and the chain of names that needs it."""

    name: str
    source: str
    chain: Chain


class Closure:
    """The source of `app.py`, and the files beside it; nothing is written yet.

    `pieces` are the blocks of source in the order in which they run, `packages` their imports,
    `assets` their files, `warnings` the messages for the user.
    """

    def __init__(
        self, app: App, statements: list[str] | None, names: dict[str, Any] | None = None
    ) -> None:
        self.pieces: list[SourcePiece] = []
        self.warnings: list[str] = []
        self.assets = Assets(app.root)
        self.packages = Packages(self.assets)
        self._app = app
        self._namespace = Namespace(app, statements, names)
        self._reserved = {"App": App, "Path": Path, "HERE": None, "app": app}
        self._done: set[str] = set()  # names and keys of forms, also those in the making
        self._ready: set[str] = set()  # names whose piece is written
        self._first_names: dict[int, str] = {}  # of each live object, by its id
        self._late: list[SourcePiece] = []
        self._places = ObjectPlaces(str(self._namespace.names.get("__name__")))
        for endpoint in app.endpoints:
            form, start = form_of(endpoint), f"{endpoint.method} {endpoint.path}"
            self._make(endpoint.name, endpoint, form, (start,))
        self.pieces += self._late

    @property
    def app_name(self) -> str:
        """The app's own name in the source."""
        return self._namespace.app_name

    @property
    def namespace(self) -> Namespace:
        """The live names of the session."""
        return self._namespace

    @property
    def futures(self) -> list[str]:
        """The `from __future__` line, which must come first, or none."""
        names = ", ".join(sorted(self._namespace.statements.futures))
        return [f"from __future__ import {names}"] if names else []

    def _need(self, name: str, chain: Chain) -> None:
        """Make `name` available in the exported source."""
        if name in self._done or name in _MODULE_NAMES or name == self.app_name:
            return
        if self._namespace.is_builtin(name):
            return
        if name not in self._namespace.names:
            raise ExportError(
                f"{name} is not defined in this session (needed by {shown(chain)}): "
                "run the cell that defines it"
            )
        value = self._namespace.names[name]
        self._check_name(name, value, chain)
        self._done.add(name)
        form = form_of_name(name, value, self._namespace)
        first = self._first_name(name, value, form)
        if first == name:
            self._make(name, value, form, chain)
        else:
            self._need(first, chain)
            self._add_alias(name, first, chain)
        self._ready.add(name)

    def _check_name(self, name: str, value: Any, chain: Chain) -> None:
        if name in self._reserved and value is not self._reserved[name]:
            raise ExportError(
                f"{name} is a name of the exported app.py itself (needed by {shown(chain)}): "
                "rename it"
            )
        if is_notebook_only(value):
            raise ExportError(
                f"{name} exists only in a notebook (needed by {shown(chain)}): "
                "leave it out of served code"
            )

    def _first_name(self, name: str, value: Any, form: Form) -> str:
        """Return the name that makes the object; the others are set to it."""
        if value is self._app:
            return self.app_name
        if not form.aliased:
            return name
        first = form.first_name(name, value, self._namespace)
        return self._first_names.setdefault(id(value), first)

    def _add_alias(self, name: str, first: str, chain: Chain) -> None:
        """Set a second name of an object; at the end where the object is still in the making."""
        written = first in self._ready or first == self.app_name
        alias = SourcePiece(name, f"{name} = {first}", (*chain, name))
        (self.pieces if written else self._late).append(alias)

    def _make(self, name: str, value: Any, form: Form, chain: Chain) -> None:
        """Add the piece that makes a live object, after the pieces that it needs."""
        key, binds = form.key(value), form.binds(name, value, self._namespace)
        if key in self._done:
            return
        self._done |= {*binds, key} - {""}
        here = (*chain, name)
        draft = Draft(
            name,
            here,
            self._namespace,
            self.assets,
            self.packages,
            self.warnings,
            form_of,
            self._places,
        )
        source = form.statement(value, draft)
        for needed in draft.needs:
            self._need(needed, here)
        written = {piece.source for piece in self.pieces}  # one statement may make several names
        if source and source not in written:
            self.pieces.append(SourcePiece(name, source, here))
        self._ready |= set(binds)
        if source:
            self._places.record(name, value)
