"""RemoteStore: a searchable store of a served app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import quote

import numpy as np

from conduit_lab.client.app_connection import Connection
from conduit_lab.client.request_body import json_body
from conduit_lab.client.shown_values import shown_hits
from conduit_lab.core.errors import InputError, RemoteError, RemoteUnknownName, UnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures
from conduit_lab.core.views.sections import Code
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed

STORES_PATH = "/v1/stores"
_COLUMNS = ("store", "entries", "vectors", "metric", "takes text")


class RemoteStore(Viewed):
    """A store of a served app; a search is one request, retried if it is lost.

    `entries`, `dimension` and `metric` are as of the last `connect` or `refresh`.
    """

    def __init__(self, facts: Mapping[str, Any], connection: Connection) -> None:
        self._connection = connection
        self.name = str(facts["name"])
        self.entries = int(facts.get("entries") or 0)
        self.dimension = int(facts.get("dimension") or 0)
        self.metric = str(facts.get("metric", ""))
        self.takes_text = bool(facts.get("takes_text"))

    def search(
        self,
        query: Any,
        top_k: int = 5,
        where: Mapping[str, Any] | None = None,
        *,
        mode: str = "dense",
        exact: bool = False,
        mmr: float | None = None,
        fusion: str = "score",
    ) -> Any:
        """Return the best `top_k` entries (1 to 1,000), best first, as `VectorStore.search` does.

        `query` is text, if the store has an embedder, or an embedding `[dimension]`; a list of
        either returns a list of `Hits`, with one request each. `where` is a metadata filter.
        """
        if _is_batch(query):
            options: dict[str, Any] = {"mode": mode, "exact": exact, "mmr": mmr, "fusion": fusion}
            return [self.search(each, top_k, where, **options) for each in query]
        body: dict[str, Any] = {"query": query, "top_k": top_k, "mode": mode, "exact": exact}
        body |= {"where": where, "mmr": mmr, "fusion": fusion}
        sent = {name: value for name, value in body.items() if value is not None}
        with recorder.span(self.name, "search", self, query) as span:
            answer = self._connection.ask(
                "POST",
                f"{STORES_PATH}/{quote(self.name, safe='')}/search",
                body=json_body(sent, f"{self.name}.search"),
                repeatable=True,
            )
            hits = shown_hits(answer, query, self.name)
            if span is not None:
                span.output = hits
                span.annotate(plan=hits.plan)
        return hits

    def __len__(self) -> int:
        return self.entries

    def __bool__(self) -> bool:
        return True  # even if empty

    def _view(self) -> View:
        facts = [figures.plural(self.entries, "entry"), *self._cells()[1:3]]
        call = Code([f'remote.stores["{self.name}"].search("…")'], "to search it:")
        return View(
            "Remote store", self.name, [f"at {self._connection.url}", *facts], pieces=[call]
        )

    def _cells(self) -> tuple[str, str, str, str]:
        text = "yes" if self.takes_text else "no"
        return figures.count(self.entries), f"{self.dimension} values", self.metric, text

    def __repr__(self) -> str:
        return f"<RemoteStore {self.name!r} · {' · '.join(self._cells()[:3])}>"


class RemoteStores(Viewed, dict[str, RemoteStore]):
    """The stores of a served app by name; empty if it does not serve them."""

    def __init__(self, connection: Connection) -> None:
        self._place = connection.url
        self.served = True
        try:
            answer = connection.ask("GET", STORES_PATH, repeatable=True)
        except RemoteUnknownName:
            self.served = False
            answer = {}
        found = answer.get("stores") if isinstance(answer, dict) else None
        if self.served and not isinstance(found, list):
            raise RemoteError(f"GET {STORES_PATH} expected a list of stores, got another answer")
        super().__init__({str(each["name"]): RemoteStore(each, connection) for each in found or ()})

    def __missing__(self, name: str) -> NoReturn:
        if not self.served:
            raise UnknownName(
                f"the app at {self._place} does not serve its stores: "
                'create it with App(…, protocols=["stores"])'
            )
        known = ", ".join(self) or "none"
        raise UnknownName(
            f"the app at {self._place} has no store {name!r}; there are {known}"
            f"{did_you_mean(str(name), self)}"
        )

    def table(self) -> Table:
        """Return the entries, dimension and metric of each."""
        rows = [(store.name, *store._cells()) for store in self.values()]
        return Table(_COLUMNS, rows, numeric=("entries",))

    def _view(self) -> View:
        return View("Remote stores", "", [figures.plural(len(self), "store")], [self.table()])


def _is_batch(query: Any) -> bool:
    """Return whether `query` is a batch: a list of texts or embeddings, or a 2-D array."""
    if isinstance(query, np.ndarray):
        if query.ndim not in (1, 2):
            raise InputError(
                f"a query expects [dimension] or [n, dimension], got {query.ndim} axes"
            )
        return query.ndim == 2
    if not isinstance(query, list | tuple):
        return False
    return any(isinstance(each, str | list | tuple | np.ndarray) for each in query[:1])
