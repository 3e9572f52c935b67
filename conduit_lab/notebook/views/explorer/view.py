"""ExplorerView: the kernel's half of an explorer's live view; the page's half is `view.js`.

Protocol: the page sends messages with `do` and receives messages with `kind` (`messages.py`):

    search {text, mode, serial}  → hits, or problem {text, serial}
    color {field}                → colors
    filter {filters}             → where {text}; `filters` has categories by field
    select {places, serial}      → selection; `places` are uint32 in base64
    open {id}                    → entry        peek {place}   → peek
    question {number, serial}    → hits, ranks
    marks {}                     → marks        (once, after the map)

A page that starts to listen receives map, colors, the last search and marks. The view's own thread
answers only the newest message of each kind, so during fast typing the last keystroke is answered,
and the kernel's main thread stays free. The answer includes the page's `serial`.
"""

from __future__ import annotations

import threading
from base64 import b64decode
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from conduit_lab.core.errors import ConduitError
from conduit_lab.notebook.mount import sendable
from conduit_lab.notebook.views.explorer import messages
from conduit_lab.notebook.views.explorer.messages import Message, UnitSquare
from conduit_lab.notebook.views.explorer.worker import NewestJobs
from conduit_lab.vectors.explore.coloring import Category
from conduit_lab.vectors.explore.explorer import Explorer

# delay after the last change, before the form for a saved notebook is rendered
STATIC_SECONDS = 1.0
SHOWN_HITS = 10
_MODES = ("dense", "lexical", "hybrid")


class ExplorerView:
    """Answers the page of one explorer; `send` takes one message, on any thread."""

    def __init__(self, explorer: Explorer, send: Callable[[dict[str, Any]], object]) -> None:
        self.explorer = explorer
        self._send = send
        self._square = UnitSquare(explorer.map.xy)
        self._jobs = NewestJobs("conduit_lab explorer")
        self._due = threading.Event()  # send everything again at the next flush
        self._due.set()
        self._filters: dict[str, list[int]] = {}  # replaced, never mutated
        self._static_at: float | None = None

    def opened(self) -> None:
        """Send everything again, because a page has started to listen."""
        self._due.set()

    def flush(self) -> None:
        """Send the map if a page is waiting for it, and the static form after a change."""
        if self._due.is_set():
            self._due.clear()
            self._jobs.give("all", self._send_all)
        if self._static_at is not None and monotonic() >= self._static_at:
            self._static_at = None
            self._jobs.give("static", self._send_static)

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message from the page, on any thread; answer on the view's own thread."""
        kind = str(message.get("do"))
        answer = _ANSWERS.get(kind)
        if answer is not None:
            self._jobs.give(kind, partial(self._answer, answer, message))

    def close(self) -> None:
        """Drop the pending requests."""
        self._jobs.close()

    # On the view's thread

    def _answer(
        self, answer: Callable[[ExplorerView, dict[str, Any]], None], message: dict[str, Any]
    ) -> None:
        try:
            answer(self, message)
        except (ConduitError, LookupError, ValueError, TypeError) as error:
            text = str(error) if isinstance(error, ConduitError) else f"not understood: {error!r}"
            self._put({"kind": "problem", "text": text, "serial": message.get("serial")})

    def _put(self, message: Message) -> None:
        self._send(_sendable(message))

    def _send_all(self) -> None:
        explorer = self.explorer
        self._put(messages.map_message(explorer, self._square))
        self._send_colors()
        if (shown := explorer.shown) is not None:
            self._put(messages.hits_message(shown, explorer, self._square, 0, 0.0))
        self._jobs.give("marks", lambda: self._put(messages.marks_message(explorer)))

    def _send_colors(self) -> None:
        explorer = self.explorer
        self._put(messages.colors_message(explorer.coloring, explorer.map, self._square))

    def _send_static(self) -> None:
        html = self.explorer._repr_mimebundle_()["text/html"]
        self._put({"kind": "static", "html": html})

    def _changed(self) -> None:
        self._static_at = monotonic() + STATIC_SECONDS

    def _search(self, message: dict[str, Any]) -> None:
        text, serial = str(message.get("text", "")).strip(), int(message["serial"])
        mode = message.get("mode", "dense")
        if not text:
            self.explorer.show(None)
            self._put({"kind": "hits", "serial": serial, "hits": [], "ring": None, "query": None})
        else:
            self._send_hits(text, mode if mode in _MODES else "dense", serial)
        self._changed()

    def _send_hits(self, text: str, mode: Any, serial: int) -> None:
        begin = perf_counter()
        located = self.explorer.locate(text, SHOWN_HITS, self._where(), mode)
        seconds = perf_counter() - begin
        self.explorer.show(located)
        self._put(messages.hits_message(located, self.explorer, self._square, serial, seconds))

    def _color(self, message: dict[str, Any]) -> None:
        self.explorer.color_by = str(message["field"])
        self._send_colors()
        self._changed()

    def _filter(self, message: dict[str, Any]) -> None:
        filters = message["filters"]
        self._filters = {str(field): list(map(int, codes)) for field, codes in filters.items()}
        where = self._where()
        self._put({"kind": "where", "text": "" if where is None else f"where={where!r}"})

    def _select(self, message: dict[str, Any]) -> None:
        packed = np.frombuffer(b64decode(message["places"]), "<u4")
        places = packed[packed < len(self.explorer.map)].astype(np.int64).tolist()
        self.explorer.select_places(places)
        self._put(messages.list_message(self.explorer, places, int(message["serial"])))

    def _open(self, message: dict[str, Any]) -> None:
        id = message.get("id")
        if id is None:
            id = self.explorer.map.ids[int(message["place"])]
        self._put(messages.entry_message(self.explorer, str(id)))

    def _peek(self, message: dict[str, Any]) -> None:
        self._put(messages.peek_message(self.explorer, int(message["place"])))

    def _question(self, message: dict[str, Any]) -> None:
        explorer = self.explorer
        question = explorer.misplaced[int(message["number"])]
        self._send_hits(question.question, "dense", int(message["serial"]))
        pages = explorer.page_places(question.pages)
        ranks = explorer.rank_pages(question)
        self._put(messages.ranks_message(question, ranks, pages))
        self._changed()

    def _where(self) -> dict[str, Any] | None:
        """Return the filter of the selected categories; clusters have none."""
        clauses: list[dict[str, Any]] = []
        for field, codes in self._filters.items():
            categories = self.explorer.map.coloring(field).categories
            chosen = [categories[code] for code in codes if 0 <= code < len(categories)]
            if clause := where_of(field, chosen):
                clauses.append(clause)
        return {"$and": clauses} if len(clauses) > 1 else clauses[0] if clauses else None


def where_of(field: str, categories: list[Category]) -> dict[str, Any] | None:
    """Return the filter for any of several values of a field, or None without values."""
    wheres = [category.where for category in categories if category.where is not None]
    if len(wheres) < 2:
        return wheres[0] if wheres else None
    values = [where[field] for where in wheres]
    if any(isinstance(value, Mapping) for value in values):
        return {"$or": wheres}
    return {field: {"$in": values}}


def _sendable(value: Any) -> Any:
    """Return a message without lone surrogates, which a channel cannot encode."""
    if isinstance(value, str):
        return value if value.isascii() else sendable(value)
    if isinstance(value, Mapping):
        return {key: _sendable(item) for key, item in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], (int, float)):
        return [_sendable(item) for item in value]
    return value


_ANSWERS: dict[str, Callable[[ExplorerView, dict[str, Any]], None]] = {
    "search": ExplorerView._search,
    "color": ExplorerView._color,
    "filter": ExplorerView._filter,
    "select": ExplorerView._select,
    "open": ExplorerView._open,
    "peek": ExplorerView._peek,
    "question": ExplorerView._question,
}
