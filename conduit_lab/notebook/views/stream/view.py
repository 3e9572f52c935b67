"""StreamView: the kernel's half of a stream's live view; the page's half is `view.js`.

Protocol: the page receives

    {"seq": n, "dropped": d, "offset": o, "text": "...", "facts": ["● running", "12 chunks", ...],
     "image": "data:image/png;base64,..."}

where `text` starts at character `o` (a code point) of the text that starts at the stream's chunk
`d`. A page that has fewer than `o` characters, or another `d`, has missed a message and requests a
replay; it skips characters that it has. `facts`, the header line, and `image`, the newest image,
are in some messages only, and `name` in the first. For chunks that are not text, the page receives

    {"seq": n, "shape": "numbers", "whole": false, "part": {...}}

where `part` has the changes since message `n - 1`, or the whole shape; see `shape_updates.py`. A
page that has missed message `n - 1` requests a replay. `notes`, sentences about omitted chunks and
text, accompany the facts. The page sends `{"replay": true}` and `{"stop": true}`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.streams.chunk import chunk_text
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.mount import sendable
from conduit_lab.notebook.views.stream.shape_updates import (
    MAX_MEDIA_RATE,
    ShapeUpdates,
    updates_of,
)

MAX_VIEW_MESSAGE_CHARACTERS = 32_768  # about 1.3 MB/s at the hub's pace, which a page can render
FACTS_SECONDS = 0.25  # figures that change faster are unreadable
IMAGE_SECONDS = 0.25
MAX_UPDATE_CHUNKS = 5_000  # per flush: 200,000 chunks/s


class StreamView:
    """Sends a stream's text or shape as deltas; `send` takes one message.

    A view never blocks the stream. If it falls behind the stream's bounded log, it starts over with
    the retained text and says how many chunks were dropped. The header has the first `facts`
    figures, by default all.
    """

    def __init__(
        self,
        stream: Stream[Any],
        send: Callable[[dict[str, Any]], object],
        *,
        facts: int | None = None,
    ) -> None:
        self.stream = stream
        self._fact_count = facts
        self._send = send
        self._reader = stream.reader()
        self._dropped = self._reader.index
        self._offset = 0
        self._seq = 0
        self._head: dict[str, list[str]] = {}
        self._facts_at = 0.0
        self._image_at = 0.0
        self._looked = 0  # chunks already searched for an image
        self._replay_asked = threading.Event()
        self._updates: ShapeUpdates | None = None  # for chunks that are not text

    def opened(self) -> None:
        """Send everything again; thread-safe."""
        self._replay_asked.set()

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message from the page; thread-safe."""
        if message.get("stop"):
            self.stream.cancel()
        else:
            self._replay_asked.set()

    def flush(self) -> None:
        """Send the changes since the last flush, if any, as one message."""
        now = monotonic()
        whole = self._replay_asked.is_set()
        if whole:
            self._replay_asked.clear()
            self._head, self._facts_at = {}, 0.0
        message = self._shape_message(whole) or self._text_message(whole, now)
        if now >= self._facts_at:
            head = {
                "facts": self.stream.facts[: self._fact_count],
                "notes": self.stream.shown.notes(self._offset),
            }
            if head != self._head:
                self._facts_at = now + FACTS_SECONDS
                message |= head | ({} if self._head else {"name": self.stream.name})
                self._head = head
        if message.keys() & {"part", "facts", "image"} or message.get("text"):
            self._send({"seq": self._seq} | message)
            self._seq += 1

    def close(self) -> None:
        """Stop reading the stream."""
        self._reader.close()

    def _shape_message(self, whole: bool) -> dict[str, Any]:
        """Return the changes of the stream's shape; empty if it is shown as text."""
        shown = self.stream.shown
        shown.update(MAX_UPDATE_CHUNKS)
        with shown.lock:
            if shown.shape is None:
                return {}
            if self._updates is None:
                self._updates, whole = updates_of(shown.shape), True
            message: dict[str, Any] = {"shape": shown.shape.name}
            if (part := self._updates.changes(whole)) is not None:
                message |= {"whole": whole, "part": part}
            return message

    def _text_message(self, whole: bool, now: float) -> dict[str, Any]:
        """Return the next text, empty before the first chunk, with an image if one is due."""
        if whole:
            self._restart(self._dropped)
            self._looked = 0
        text = self._read()
        message = {"dropped": self._dropped, "offset": self._offset, "text": text}
        self._offset += len(text)
        picture = self._image(now)
        return message if picture is None else message | {"image": picture}

    def _restart(self, index: int) -> None:
        """Start over with the text that starts at chunk `index`."""
        self._reader.close()
        self._reader = self.stream.reader(index)
        self._dropped = index
        self._offset = 0

    def _image(self, now: float) -> str | None:
        """Return the newest image as a data URL, if a new one is due."""
        count = self.stream.count
        if now < self._image_at or count == self._looked:
            return None
        found = self.stream.newest_image(self._looked)
        self._looked = count
        if found is None:
            return None
        url = found.url
        self._image_at = now + max(IMAGE_SECONDS, len(url) / MAX_MEDIA_RATE)
        return url

    def _read(self) -> str:
        """Return the next text, about as much as one message may carry."""
        parts: list[str] = []
        size = 0
        while size < MAX_VIEW_MESSAGE_CHARACTERS and self._reader.index < self.stream.count:
            try:
                part = sendable(chunk_text(next(self._reader)))
            except StreamLagged as lag:
                self._restart(lag.resume_at)
                parts, size = [], 0
            else:
                parts.append(part)
                size += len(part)
        return "".join(parts)
