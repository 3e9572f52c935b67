"""SessionView: the kernel's half of the live view of a lab; the page's half is `view.js`.

Protocol: the page receives

    {"kind": "Lab", "name": "demo", "facts": ["2 models"], "urls": ["http://127.0.0.1:8000"],
     "headline": "…", "groups": [[table, ...], ...], "note": "…", "missing": ["ask(…)", ...],
     "streams": [{"key": 1, "cells": ["ask", "● running", ...]}, ...],
     "stream_columns": ["stream", ...], "html": "…"}

in full, at most once per second and only if it changed. A table is `{"columns": [...], "numeric":
[...], "rows": [[cell, ...], ...], "more": "…"}`, a cell `{"text": "12", "suffix": " runs", "share":
0.5}`. `html` is the static form without its header line and its streams, for a page that is saved
or loses its kernel. The page sends `{"stop": key}`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.views import figures, html
from conduit_lab.core.views.view import Table
from conduit_lab.notebook.mount import sendable
from conduit_lab.serving.app import App
from conduit_lab.serving.glance import Glance
from conduit_lab.serving.running import STREAM_COLUMNS, Streams, stream_cells

REFRESH_SECONDS = 1.0  # figures are for reading, not for watching


class SessionView:
    """Sends the state of a lab when it has changed; `send` takes one message.

    While nothing is called and no stream runs, one check per second reads a few counters and sends
    nothing.
    """

    def __init__(self, app: App, send: Callable[[dict[str, Any]], object]) -> None:
        self.app = app
        self._send = send
        self._keys: WeakKeyDictionary[Stream[Any], int] = WeakKeyDictionary()
        self._numbers = count(1)
        self._due = threading.Event()  # immediately: a page has opened, or requested a stop
        self._at = 0.0
        self._counters: Any = None
        self._sent: dict[str, Any] | None = None

    def opened(self) -> None:
        """Send everything again; thread-safe."""
        self._counters = self._sent = None
        self._due.set()

    def receive(self, message: dict[str, Any]) -> None:
        """Stop the stream with the key sent by the page; thread-safe."""
        for stream in self.app.streams:
            if self._keys.get(stream) == message.get("stop"):
                stream.cancel()
        self._due.set()

    def flush(self) -> None:
        """Send the session's state if it is due and has changed."""
        now = monotonic()
        if not self._due.is_set() and now < self._at:
            return
        self._due.clear()
        self._at = now + REFRESH_SECONDS
        streams = self.app.streams
        counters = self._read_counters(streams)
        if counters == self._counters and not streams:
            return
        self._counters = counters
        message = self._message(self.app.glance(), streams)
        if message != self._sent:
            self._sent = message
            self._send(message)

    def close(self) -> None:
        """Do nothing: the view has no reader."""

    def _read_counters(self, streams: Streams) -> Any:
        """Return numbers of which at least one differs after any change that the view shows."""
        app = self.app
        models = [(each.name, each.held, each.held and each.held.calls) for each in app.models]
        stores = [(name, id(store), store.version) for name, store in app.stores.items()]
        servers = [server.running for server in list(app.servers)]
        proofs = [app.proof(endpoint) for endpoint in app.endpoints]
        return app.statistics.calls, list(app.endpoints), proofs, models, stores, servers

    def _message(self, glance: Glance, streams: Streams) -> dict[str, Any]:
        return {
            "kind": glance.kind,
            "name": sendable(glance.name),
            "facts": list(glance.facts),
            "urls": list(glance.urls),
            "headline": glance.headline,
            "groups": [[table_message(table) for table in group] for group in glance.groups],
            "note": glance.note,
            "missing": [sendable(line) for line in glance.missing],
            "streams": [
                {"key": self._key(each), "cells": [sendable(cell) for cell in stream_cells(each)]}
                for each in streams[: html.MAX_ROWS]
            ],
            "stream_columns": STREAM_COLUMNS,
            "more_streams": _more(len(streams), "more stream"),
            "html": sendable("".join(piece.html() for piece in glance.pieces())),
        }

    def _key(self, stream: Stream[Any]) -> int:
        if (key := self._keys.get(stream)) is None:
            key = self._keys[stream] = next(self._numbers)
        return key


def table_message(table: Table) -> dict[str, Any]:
    """Return a table in the form that the page expects."""
    return {
        "columns": list(table.columns),
        "numeric": [column in table.numeric for column in table.columns],
        "rows": [[_cell(cell) for cell in row] for row in table.rows[: html.MAX_ROWS]],
        "more": _more(len(table.rows), "more row"),
    }


def _cell(cell: Any) -> dict[str, Any]:
    if isinstance(cell, html.Cell):
        return {"text": sendable(cell.text), "suffix": cell.suffix, "share": cell.share}
    return {"text": sendable(str(cell))}


def _more(total: int, noun: str) -> str:
    return figures.plural(total - html.MAX_ROWS, noun) if total > html.MAX_ROWS else ""
