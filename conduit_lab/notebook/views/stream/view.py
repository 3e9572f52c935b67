"""StreamView: what a page has been sent of a running stream, and what to send it next.

The protocol, page side in `stream.js`. To the page go

    {"seq": n, "dropped": d, "offset": o, "text": "...", "facts": ["● running", "12 chunks", ...],
     "image": "data:image/png;base64,..."}

where `text` begins at character `o` (a code point) of the text that begins at the stream's chunk
`d`. A page that knows less than `o` characters of it, or knows another `d`, has missed something
and asks for a replay; characters that it knows already it skips. `facts`, the header line, comes
with some messages only, and so does `image`, the newest one. From the page come `{"open": true}`
when it begins to listen, `{"replay": true}` and `{"stop": true}`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.streams.stream import Stream, chunk_text

MESSAGE_CHARACTERS = (
    32_768  # about 1.3 MB/s at the flusher's pace: what a page can render while it stays alive
)
FACTS_PERIOD = 0.25  # seconds; figures that change faster cannot be read
IMAGE_PERIOD = 0.25  # seconds
IMAGE_PACE = (
    500_000  # characters/s: half of what the Jupyter server lets through, the rest is the text's
)
FIRST_REPEAT = 0.2  # seconds until an unheard page is sent everything again


class StreamView:
    """Sends a stream's text in deltas: `send` takes one message, `flush` is called again and again
    by one thread.

    A view never holds the stream up. If it falls out of the stream's bounded log, it starts again
    with the text that is kept and says how many chunks were dropped.

    Attribute: `pages`, how many pages have begun to listen; a reloaded page counts anew.
    """

    def __init__(self, stream: Stream[Any], send: Callable[[dict[str, Any]], object]) -> None:
        self.stream = stream
        self.pages = 0
        self._send = send
        self._reader = stream.reader()
        self._dropped = self._reader.index
        self._offset = 0
        self._seq = 0
        self._facts_at = 0.0
        self._image_at = 0.0
        self._looked = 0  # chunks among which no newer image is to be looked for
        # What is sent before the page listens is lost, and its first request may wait for the end
        # of a busy cell. Until one is heard, everything is sent again at doubling intervals: at
        # most twice the text in total.
        self._repeat_after = FIRST_REPEAT
        self._repeat_at = monotonic() + FIRST_REPEAT
        self._replay_asked = threading.Event()

    def receive(self, message: dict[str, Any]) -> None:
        """Take a message from the page; may be called by any thread."""
        if message.get("stop"):
            self.stream.cancel()
            return
        self.pages += bool(message.get("open"))
        self._replay_asked.set()

    def flush(self) -> None:
        """Send what has come since the last flush, as one message, if there is anything to say."""
        now = monotonic()
        if self._replay_due(now):
            self._restart(self._dropped)
            self._looked = 0
        text = self._read()
        message = {"seq": self._seq, "dropped": self._dropped, "offset": self._offset, "text": text}
        if now >= self._facts_at:
            self._facts_at = now + FACTS_PERIOD
            message["facts"] = self.stream.facts
        if (picture := self._image(now)) is not None:
            message["image"] = picture
        if not text and "facts" not in message and picture is None:
            return
        self._seq += 1
        self._offset += len(text)
        self._send(message)

    def finish(self) -> None:
        """Send what is left of an ended stream, and its last facts."""
        self._facts_at = self._image_at = 0.0
        self.flush()
        while self._reader.index < self.stream.count:
            self.flush()

    def close(self) -> None:
        """Stop reading the stream."""
        self._reader.close()

    def _replay_due(self, now: float) -> bool:
        if self._replay_asked.is_set():
            self._replay_asked.clear()
            return True
        if self.pages or now < self._repeat_at:
            return False
        self._repeat_after *= 2
        self._repeat_at = now + self._repeat_after
        return True

    def _restart(self, index: int) -> None:
        """Begin again with the text that begins at chunk `index`."""
        self._reader.close()
        self._reader = self.stream.reader(index)
        self._dropped = index
        self._offset = 0

    def _image(self, now: float) -> str | None:
        """Return the newest image as a data URL, if there is one that was not sent and one is due."""
        count = self.stream.count
        if now < self._image_at or count == self._looked:
            return None
        found = self.stream.newest_image(self._looked)
        self._looked = count
        if found is None:
            return None
        url = found.url
        self._image_at = now + max(IMAGE_PERIOD, len(url) / IMAGE_PACE)
        return url

    def _read(self) -> str:
        """Return the next text, not much more than a message may carry."""
        parts: list[str] = []
        size = 0
        while size < MESSAGE_CHARACTERS and self._reader.index < self.stream.count:
            try:
                part = sendable(chunk_text(next(self._reader)))
            except StreamLagged as lag:
                self._restart(lag.resume_at)
                parts, size = [], 0
            else:
                parts.append(part)
                size += len(part)
        return "".join(parts)


def sendable(text: str) -> str:
    """Return `text` with each lone surrogate replaced by `?`, as many characters: a message cannot carry them."""
    return text.encode("utf-8", "replace").decode("utf-8")
