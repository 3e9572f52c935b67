"""Glance: a session at a glance: its models, stores, endpoints, streams and servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import Line, ViewPiece
from conduit_lab.core.views.sections import Code, Sections
from conduit_lab.core.views.view import Table, View
from conduit_lab.serving.endpoint_view import endpoint_cells
from conduit_lab.serving.limits import Limits
from conduit_lab.serving.running import Streams
from conduit_lab.serving.stores import store_cells

if TYPE_CHECKING:
    from conduit_lab.serving.app import App

MAX_MISSING_CALLS = 5


@dataclass(frozen=True)
class Glance:
    """A snapshot of an app, as text and tables.

    `facts` counts its parts, `urls` lists the addresses of its servers, `headline` states how many
    endpoints an export can prove. `groups` has the tables of endpoints, and of models and stores;
    `streams` are the running streams. `missing` lists sample calls that an export still needs,
    introduced by `note`.
    """

    kind: str
    name: str
    facts: Sequence[str]
    urls: Sequence[str]
    groups: Sequence[Sequence[Table]]
    streams: Streams
    missing: Sequence[str] = ()
    note: str = ""
    headline: str = ""

    @classmethod
    def of(
        cls, app: App, missing: Sequence[str] = (), note: str = "", headline: str = ""
    ) -> Glance:
        """Take a snapshot of `app`; opens nothing."""
        streams = app.streams
        parts: list[tuple[Any, str]] = [
            (app.models, "model"),
            (app.stores, "store"),
            (app.endpoints, "endpoint"),
            (streams, "running stream"),
        ]
        facts = [figures.plural(len(part), noun) for part, noun in parts if len(part)]
        if len(app.keys):
            facts.append(figures.plural(len(app.keys), "key"))
        if app.limits != Limits():
            facts.append(repr(app.limits))
        groups = [[_endpoints(app)], [app.models.summary(), _stores(app)]]
        return cls(
            type(app).__name__,
            app.name,
            facts or ["nothing loaded yet"],
            sorted(server.url for server in list(app.servers) if server.running),
            [[table for table in group if table.rows] for group in groups],
            streams,
            missing,
            note,
            headline,
        )

    def pieces(self, streams: Sequence[Table] = ()) -> list[ViewPiece]:
        """Return the view below its header line: two columns, and the missing calls."""
        first, *rest = self.groups
        pieces: list[ViewPiece] = [Line(self.headline, "large")] if self.headline else []
        pieces.append(Sections([[*first, *streams], *rest]))
        if self.missing:
            pieces.append(Sections([[Code(self.missing, self.note)]]))
        return pieces

    def view(self) -> View:
        """Return the view: two columns if there is room, and the missing calls below."""
        facts = [*self.facts, *(f"● {url}" for url in self.urls)]
        running = [self.streams.table()] if self.streams else []
        return View(self.kind, self.name, facts, pieces=self.pieces(running))


def _stores(app: App) -> Table:
    rows = [(name, *store_cells(store)[:3]) for name, store in app.stores.items()]
    return Table(("store", "entries", "embedder", "size"), rows, numeric=("entries", "size"))


def _endpoints(app: App) -> Table:
    rows: list[tuple[Any, ...]] = [
        (f"{each.method} {each.path}", *cells)
        for each, cells in zip(app.endpoints, endpoint_cells(app.endpoints), strict=True)
    ]
    columns: tuple[str, ...] = ("endpoint", "proof", "calls", "p50")
    if not any(app.proof(each) for each in app.endpoints):  # no proofs in a served app
        columns = ("endpoint", "calls", "p50")
        rows = [(row[0], *row[2:]) for row in rows]
    return Table(columns, rows, numeric=("calls", "p50"))
