"""Closure: the source and files that an app's endpoints depend on.

The walk starts at the registered endpoints and follows the global names that their code looks up in
the live session. Each object is written by its form (`forms/`); an object without a form is
refused, and the refusal names the chain that needs it.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.export.assets import Assets
from conduit_lab.export.cell_run import CellRun
from conduit_lab.export.forms.endpoint import registration
from conduit_lab.export.forms.form import Chain, Draft, Form, shown
from conduit_lab.export.forms.form_registry import form_of, form_of_name
from conduit_lab.export.forms.places import ObjectPlaces
from conduit_lab.export.library_changes import home_of, library_changes
from conduit_lab.export.namespace import Namespace, is_notebook_only
from conduit_lab.export.order import in_order
from conduit_lab.export.packages import Packages
from conduit_lab.export.plan_node import PlanNode
from conduit_lab.export.refusal import Refusal
from conduit_lab.export.source_piece import SourcePiece
from conduit_lab.export.statement import Statement
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.recorded import Example, UnopenedStore

MAX_SHOWN_REFUSALS = 10

_MODULE_NAMES = ("__file__", "__name__")


class Closure:
    """The source of `app.py` and the files beside it; nothing is written yet.

    `pieces` are the blocks of source in execution order, `packages` their imports, `assets` their
    files, `nodes` the objects in the order in which they were reached, and `warnings` the messages
    for the user. `endpoints` (default: all of the app) follow the order of the pieces. The
    `examples` add the files and stores that recorded calls used without a global name. Raises
    `ExportError` with all `refusals`, unless `keeps_refusals` is set.
    """

    def __init__(
        self,
        app: App,
        statements: Sequence[CellRun | str] | None,
        names: dict[str, Any] | None = None,
        *,
        endpoints: Sequence[Endpoint[..., Any]] | None = None,
        examples: Sequence[Example] = (),
        keeps_refusals: bool = False,
    ) -> None:
        self.endpoints = list(app.endpoints if endpoints is None else endpoints)
        self.warnings: list[str] = []
        self.refusals: list[Refusal] = []
        self.nodes: list[PlanNode] = []
        self.assets = Assets(app.root)
        self.packages = Packages(self.assets)
        self._app = app
        self._namespace = Namespace(app, statements, names, self.endpoints)
        self._reserved = {"App": App, "Path": Path, "HERE": None, "app": app}
        if self._namespace.names.get("HERE") == app.root:  # of an opened app.py
            self._reserved["HERE"] = self._namespace.names["HERE"]
        self._done: set[str] = set()  # names and form keys, including those in progress
        self._first_names: dict[int, str] = {}  # of each live object, keyed by id
        self._pieces: dict[int | str, SourcePiece] = {}
        self._by_form_key: dict[str, int | str] = {}  # the piece for each form key
        self._places = ObjectPlaces(str(self._namespace.names.get("__name__")))
        for endpoint in self.endpoints:
            form, start = form_of(endpoint), f"{endpoint.method} {endpoint.path}"
            self._make(endpoint.name, endpoint, form, (start,))
        for example in examples:
            self._add_recorded(example)
        self._add_library_changes()
        self.pieces = in_order(list(self._pieces.values()))
        self.endpoints.sort(key=self._place_of)
        if self.refusals and not keeps_refusals:
            raise ExportError(_listed(self.refusals))

    @property
    def app_name(self) -> str:
        """The name of the app in the source."""
        return self._namespace.app_name

    @property
    def root(self) -> Path:
        """The project folder."""
        return self._app.root

    @property
    def namespace(self) -> Namespace:
        """The live namespace of the session."""
        return self._namespace

    @property
    def futures(self) -> list[str]:
        """The `from __future__` line, which must come first; empty if there is none."""
        names = ", ".join(sorted(self._namespace.statements.futures))
        return [f"from __future__ import {names}"] if names else []

    def _need(self, name: str, chain: Chain) -> None:
        """Make `name` available in the exported source."""
        if name in self._done or name in _MODULE_NAMES or name == self.app_name:
            return
        if name == "HERE" and self._reserved[name] is not None:
            return
        if self._namespace.is_builtin(name):
            return
        self._done.add(name)
        value = self._namespace.names.get(name)
        refusal = self._refusal_of_name(name, value, chain)
        if refusal is not None:
            self._refuse(name, value, (*chain, name), refusal)
            return
        form = form_of_name(name, value, self._namespace)
        first = self._first_name(name, value, form)
        if first == name:
            self._make(name, value, form, chain)
        else:
            self._need(first, chain)
            self._add_alias(name, first, chain)

    def _refusal_of_name(self, name: str, value: Any, chain: Chain) -> Refusal | None:
        if name not in self._namespace.names:
            problem, mend = "is not defined in this session", "run the cell that defines it"
        elif name in self._reserved and value is not self._reserved[name]:
            problem, mend = "is a name of the exported app.py itself", "rename it"
        elif is_notebook_only(value):
            problem, mend = "exists only in a notebook", "leave it out of served code"
        else:
            return None
        return Refusal(f"{name} {problem}", shown(chain), mend)

    def _refuse(self, name: str, value: Any, chain: Chain, refusal: Refusal) -> None:
        if str(refusal) not in map(str, self.refusals):
            self.refusals.append(refusal)
            origin = self._newest(name)
            self.nodes.append(PlanNode.refused(name, value, chain, str(refusal), origin))

    def _first_name(self, name: str, value: Any, form: Form) -> str:
        """Return the first name bound to the object; further names become aliases of it."""
        if value is self._app:
            return self.app_name
        if not form.is_aliased(value):
            return name
        first = form.first_name(name, value, self._namespace)
        return self._first_names.setdefault(id(value), first)

    def _add_alias(self, name: str, first: str, chain: Chain) -> None:
        """Add another name for an object."""
        piece = SourcePiece(
            name,
            f"{name} = {first}",
            (*chain, name),
            frozenset({name}),
            frozenset({first}),
            self._newest(name),
            -1,  # before any change that may use it
        )
        self._add(piece)
        self.nodes.append(PlanNode.of(piece, self._namespace.names[name], "second name"))

    def _make(self, name: str, value: Any, form: Form, chain: Chain) -> None:
        """Add the piece that creates a live object, after the pieces it depends on."""
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
        before = self.assets.places
        try:
            source = form.statement(value, draft)
        except ExportError as error:
            source = None
            self._refuse(name, value, here, Refusal.of(error))
        new = self.assets.places - before
        for needed in draft.needs:
            self._need(needed, here)
        if source is None:
            return
        origin = self._origin(name, value, source)
        repeated = origin is not None and origin.text in source
        also = origin.bound_names if origin is not None and repeated else ()
        piece = SourcePiece(
            name,
            source if origin is None or repeated else origin.commented(source),
            here,
            frozenset([*binds, *also, *(part for part, _ in draft.part_places())]),
            frozenset(draft.needs),
            origin,
            origin.order if origin is not None and repeated else None,
        )
        if source:
            self._add(piece)
            self._by_form_key[key] = piece.key
            self._places.record(name, value)
            for part, held in draft.part_places():
                self._places.record_part(name, part, held)
        self.nodes.append(PlanNode.of(piece, value, files=self.assets.sizes(new, value)))
        for statement in draft.follows:
            self._add_change(statement, name, value, here)

    def _add_change(self, statement: Statement, name: str, value: Any, chain: Chain) -> None:
        """Add a statement that changed the object of `name` after its creation."""
        here = (*chain, f"{statement.first_line} (cell {statement.cell})")
        self.packages.pin_below(statement.node)
        if isinstance(statement.node, ast.For | ast.While):  # it binds its names as it did before
            self._done |= {n for n in statement.bound_names if self._newest(n) is statement}
        for needed in statement.free_names:
            self._need(needed, here)
        changed = statement.changes.keys() & {*self._namespace.names_of(value)}
        piece = SourcePiece(
            name,
            statement.text,
            here,
            frozenset({name, *statement.bound_names, *changed}),
            frozenset(statement.free_names),
            statement,
            statement.order,
            True,
        )
        self._add(piece)
        self.nodes.append(PlanNode.of(piece, value))

    def _add_library_changes(self) -> None:
        """Add the statements that change a library used by the endpoints' code."""
        names = self._namespace.names
        used = {each.partition(".")[0] for each in self.packages.modules}
        used |= {home_of(names[name]) for name in self._done & names.keys()}
        start = (f"{self.endpoints[0].method} {self.endpoints[0].path}",)
        for statement, name in library_changes(self._namespace, used):
            self._add_change(statement, name, names[name], start)

    def _add_recorded(self, example: Example) -> None:
        """Add the files and stores that a recorded call used without a global name."""
        call = f"a recorded call of {example.method} {example.path}"
        unopened = [store.path for store, _ in example.stores if isinstance(store, UnopenedStore)]
        for path in [*example.files, *unopened]:
            before = self.assets.places
            try:
                self.assets.add_named(path, call)
            except ExportError as error:
                self._refuse(path.name, path, (call, path.name), Refusal.of(error))
            self._add_files(path.name, path, call, before)
        for store, _ in example.stores:
            if store in self._app.stores.values() and store.url is None:
                before = self.assets.places
                self.assets.add_store(store, store.name)
                self._add_files(store.name, store, call, before)

    def _add_files(self, name: str, value: Any, call: str, before: frozenset[PurePath]) -> None:
        """Record the files added since `before`."""
        files = self.assets.sizes(self.assets.places - before, value)
        if files:
            piece = SourcePiece(name, "", (call, name), frozenset())
            self.nodes.append(PlanNode.of(piece, value, files=files))

    def _add(self, piece: SourcePiece) -> None:
        known = self._pieces.get(piece.key)
        self._pieces[piece.key] = piece if known is None else known.joined(piece)

    def _origin(self, name: str, value: Any, source: str) -> Statement | None:
        """Return the session's statement that the source repeats, else the one for `name`."""
        statements = self._namespace.statements
        for statement in statements.binding(name):
            if statement.text in source:
                return statement
        if isinstance(value, Endpoint):
            call = registration(value, self._namespace)
            return call or statements.holding(value.path) or self._newest(name)
        return self._newest(name)

    def _place_of(self, endpoint: Endpoint[..., Any]) -> int:
        """Return the position of an endpoint among the pieces; one without a piece comes first."""
        key = self._by_form_key.get(form_of(endpoint).key(endpoint))
        return next((n for n, piece in enumerate(self.pieces) if piece.key == key), -1)

    def _newest(self, name: str) -> Statement | None:
        return self._namespace.statements.newest(name)


def _listed(refusals: Sequence[Refusal]) -> str:
    """Return a single refusal's message, or a list of at most ten."""
    if len(refusals) == 1:
        return str(refusals[0])
    shown_ones = [f"{n}. {text}" for n, text in enumerate(refusals[:MAX_SHOWN_REFUSALS], 1)]
    more = len(refusals) - len(shown_ones)
    rest = [f"and {more} more; lab.export_plan() lists all"] if more else []
    return "\n".join([f"{len(refusals)} objects cannot be exported:", *shown_ones, *rest])
