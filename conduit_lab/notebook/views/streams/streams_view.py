"""StreamsView: the kernel's half of several streams side by side; the page's half is `view.js`.

The page receives `{"names": [...], "facts": [...], "strips": [[share, ...], ...], "ends": [start,
end], "note": "..."}`, in full each time, and `{"to": n, "message": {...}}`, a message of the n-th
stream's own view. It sends `{"stop": true}` for all and `{"to": n, "message": {...}}`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from conduit_lab.core.streams.side_by_side import BRIEF_FACTS, SideBySide
from conduit_lab.notebook.views.stream.view import FACTS_SECONDS, StreamView


class StreamsView:
    """Sends the strips and the views of all streams; `send` takes one message."""

    def __init__(self, group: SideBySide, send: Callable[[dict[str, Any]], object]) -> None:
        self.group = group
        self._send = send
        self._due = 0.0
        self._views = [
            StreamView(stream, partial(self._send_of, place), facts=BRIEF_FACTS)
            for place, stream in enumerate(group.shown)
        ]

    def opened(self) -> None:
        """Send everything again; thread-safe."""
        self._due = 0.0
        for view in self._views:
            view.opened()

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message from the page; thread-safe."""
        if message.get("stop"):
            self.group.cancel()
            return
        place = message.get("to")
        if isinstance(place, int) and 0 <= place < len(self._views):
            self._views[place].receive(message.get("message") or {})

    def flush(self) -> None:
        """Send the strips, a few times per second, and the due messages of each stream."""
        self.group.observe()
        if (now := monotonic()) >= self._due:
            self._due = now + FACTS_SECONDS
            strips = self.group.strips
            self._send(
                {
                    "names": [stream.name for stream in self.group.shown],
                    "count": len(self.group.streams),
                    "facts": self.group.facts,
                    "strips": [periods for _, periods in strips.strips],
                    "ends": [strips.start, strips.end],
                    "note": self.group.note,
                }
            )
        for view in self._views:
            view.flush()

    def close(self) -> None:
        """Stop reading the streams."""
        for view in self._views:
            view.close()

    def _send_of(self, place: int, message: dict[str, Any]) -> None:
        self._send({"to": place, "message": message})
