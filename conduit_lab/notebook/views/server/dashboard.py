"""Dashboard: the kernel's half of the live view of a server; the page's half is `view.js`.

Protocol: the page receives

    {"url": "http://127.0.0.1:8000", "facts": ["● running", "demo", "2 endpoints"],
     "headline": "12.4 requests/s · p50 3.20 ms · p99 14.1 ms", "load": "2 in flight · …",
     "per_second": [0, 3, …], "caption": "requests per second …", "groups": [[table, ...], ...],
     "html": "…"}

in full, at most once per second and only if it changed. Tables have the format of a session's view.
`html` is the static form without its header line. The page sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from conduit_lab.notebook.mount import sendable
from conduit_lab.notebook.views.session.view import REFRESH_SECONDS, table_message
from conduit_lab.serving.run.thread import Server
from conduit_lab.serving.traffic import RateStrip, Traffic, traffic_pieces, traffic_tables


class Dashboard:
    """Sends the state of a server when it has changed; `send` takes one message.

    Nothing is computed while no page is watching, and the server's own loop is not involved.
    """

    def __init__(self, server: Server, send: Callable[[dict[str, Any]], object]) -> None:
        self.server = server
        self._send = send
        self._at = 0.0
        self._sent: dict[str, Any] | None = None

    def opened(self) -> None:
        """Send everything again; thread-safe."""
        self._sent = None
        self._at = 0.0

    def receive(self, message: dict[str, Any]) -> None:
        """Do nothing: the page sends no messages."""

    def flush(self) -> None:
        """Send the server's state if it is due and has changed."""
        now = monotonic()
        if now < self._at:
            return
        self._at = now + REFRESH_SECONDS
        if (message := self._message()) is not None and message != self._sent:
            self._sent = message
            self._send(message)

    def close(self) -> None:
        """Do nothing: the view has no reader."""

    def _message(self) -> dict[str, Any] | None:
        server = self.server
        app, state = server.app, server.state
        if state is None:
            return None
        traffic = Traffic.of(app, state)
        pieces = traffic_pieces(app, state, traffic)
        return {
            "url": server.url,
            "facts": [sendable(fact) for fact in server.facts],
            "headline": traffic.headline,
            "load": traffic.load,
            "per_second": list(traffic.per_second),
            "caption": RateStrip(traffic.per_second).caption,
            "groups": [
                [table_message(table) for table in group] for group in traffic_tables(app, state)
            ],
            "html": sendable("".join(piece.html() for piece in pieces)),
        }
