"""Stores: the stores of an app by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from conduit_lab.core import views
from conduit_lab.core.errors import UnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.views.viewed import Viewed

if TYPE_CHECKING:
    from conduit_lab.vectors.store import VectorStore

_COLUMNS = ("store", "entries", "embedder", "size", "vectors", "metric", "place")
_FACTS = 5  # for an open local store: entries, vectors, metric, size, place


class Stores(Viewed, dict[str, "VectorStore"]):
    """The stores of an app; an unknown name raises `UnknownName` with the nearest one."""

    def __missing__(self, name: str) -> NoReturn:
        known = ", ".join(self) or "none yet"
        raise UnknownName(f"no store {name!r}; there are {known}{did_you_mean(str(name), self)}")

    def _view(self) -> views.View:
        rows = [(store.name, *store_cells(store)) for store in self.values()]
        call = views.Code(['docs = lab.vector_store("docs", embedder=embedder)'], "to create one:")
        table = views.Table(_COLUMNS, rows, numeric=("entries", "size"))
        return views.View("Stores", "", [str(len(self))], [table], pieces=[] if self else [call])


def store_cells(store: VectorStore) -> tuple[str, ...]:
    """Return the entries, embedder, size, vectors, metric and place of a store; opens nothing.

    The entries of a store on a server are not counted, since that takes a query.
    """
    embedder = store.embedder
    name = "" if embedder is None else str(getattr(embedder, "name", type(embedder).__name__))
    facts = [fact for fact in store._view().facts if fact != f"embedder {name}"]
    if len(facts) == 1:  # closed, or not opened yet
        return facts[0], name, "", "", "", ""
    entries, vectors, metric, size, place = [*facts, "", store.url or ""][:_FACTS]
    number, _, noun = entries.rpartition(" ")
    local = noun in ("entry", "entries")
    return (number if local else "on a server"), name, size, vectors, metric, place


def store_facts(store: VectorStore) -> dict[str, Any]:
    """Return the facts of a store for clients of the app: no path and no address."""
    return {
        "name": store.name,
        "entries": len(store) if store.url is None else None,  # would query a server
        "dimension": store.dimension,
        "metric": store.metric,
    }
