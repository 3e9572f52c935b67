"""Glance: a session on one screen: its models, stores, endpoints, streams and servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import Line, ViewPiece
from conduit_lab.core.views.sections import Code, Sections
from conduit_lab.core.views.view import Table, View
from conduit_lab.serving.endpoint_view import endpoint_cells
from conduit_lab.serving.stores import store_cells

if TYPE_CHECKING:
    from conduit_lab.serving.app import App

MAX_MISSING_CALLS = 5


@dataclass(frozen=True)
class Glance:
    """The state of an app at one moment, in words and tables.

    `facts` count its parts and have the addresses of its servers, `resources` are the tables of
    models and stores, `calls` those of endpoints and running streams. `missing` are calls to copy
    that an export still needs, and `note` is the sentence before them; `headline` says how many
    endpoints are ready for it.
    """

    kind: str
    name: str
    facts: Sequence[str]
    resources: Sequence[Table]
    calls: Sequence[Table]
    missing: Sequence[str] = ()
    note: str = ""
    headline: str = ""

    @classmethod
    def of(
        cls, app: App, missing: Sequence[str] = (), note: str = "", headline: str = ""
    ) -> Glance:
        """Return the state of `app` now; opens nothing."""
        streams = app.streams
        parts: list[tuple[Any, str]] = [
            (app.models, "model"),
            (app.stores, "store"),
            (app.endpoints, "endpoint"),
            (streams, "running stream"),
        ]
        facts = [figures.plural(len(part), noun) for part, noun in parts if len(part)]
        urls = sorted(server.url for server in list(app.servers) if server.running)
        resources = [app.models.summary(), _stores(app)]
        return cls(
            type(app).__name__,
            app.name,
            [*(facts or ["nothing loaded yet"]), *(f"● {url}" for url in urls)],
            [table for table in resources if table.rows],
            [table for table in (_endpoints(app), streams.table()) if table.rows],
            missing,
            note,
            headline,
        )

    def view(self) -> View:
        """Return the view: two columns where there is room, and the code to copy below."""
        pieces: list[ViewPiece] = [Line(self.headline, "large")] if self.headline else []
        pieces.append(Sections([self.calls, self.resources]))
        if self.missing:
            pieces.append(Sections([[Code(self.missing, self.note)]]))
        return View(self.kind, self.name, self.facts, pieces=pieces)


def _stores(app: App) -> Table:
    rows = [(name, *store_cells(store)[:3]) for name, store in app.stores.items()]
    return Table(("store", "entries", "embedder", "size"), rows, numeric=("entries", "size"))


def _endpoints(app: App) -> Table:
    rows: list[tuple[Any, ...]] = [
        (f"{each.method} {each.path}", *cells)
        for each, cells in zip(app.endpoints, endpoint_cells(app.endpoints), strict=True)
    ]
    columns: tuple[str, ...] = ("endpoint", "proof", "calls", "p50")
    if not any(app.proof(each) for each in app.endpoints):  # a served app has none
        columns = ("endpoint", "calls", "p50")
        rows = [(row[0], *row[2:]) for row in rows]
    return Table(columns, rows, numeric=("calls", "p50"))
