"""Resume: keep streams for reconnecting clients, and find a client's position in them."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

from conduit_lab.core.caller import Caller, current_caller
from conduit_lab.core.streams.holders import Bookmark
from conduit_lab.core.streams.loop import package_loop
from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.formats import END

MAX_ABANDONED = 1000  # per endpoint: streams without a client, each with its log
_MAX_DIGITS = 18  # of a chunk number; int() rejects thousands of digits


class Resumes:
    """The streams of one endpoint, each kept until `seconds` after its last client disconnected.

    A stream still running then is cancelled. If `seconds` is None, it is cancelled with its last
    client. Worker processes do not share streams.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()  # guards everything below
        self._held: dict[str, Stream[Any]] = {}
        self._callers: dict[str, Caller | None] = {}  # the caller that started each stream
        self._left_at: dict[str, float] = {}  # streams without a client, oldest first
        self._bookmarks: dict[str, Bookmark] = {}  # keep the chunks for their clients

    @property
    def streams(self) -> list[Stream[Any]]:
        """The held streams, with or without a client."""
        with self._lock:
            return list(self._held.values())

    def hold(self, stream_id: str, stream: Stream[Any]) -> None:
        """Keep a stream under its ID."""
        if self.seconds is not None:
            with self._lock:
                self._held[stream_id] = stream
                self._callers[stream_id] = current_caller()

    def arrive(self, stream_id: str) -> None:
        """Record that a client is reading a stream."""
        with self._lock:
            self._bookmarks.pop(stream_id, None)

    def leave(self, stream_id: str, reader: Reader[Any]) -> None:
        """Record a client's disconnect; of too many abandoned streams drop the oldest."""
        if self.seconds is None:
            reader.leave()
            return
        bookmark = Bookmark(reader.stream)  # before the reader closes: drops no chunk
        reader.close()
        if reader.stream.readers:
            return
        with self._lock:
            self._left_at.pop(stream_id, None)
            if stream_id in self._held:
                self._bookmarks[stream_id] = bookmark
            self._left_at[stream_id] = now = monotonic()
            oldest = next(iter(self._left_at)) if len(self._left_at) > MAX_ABANDONED else None
        if oldest is not None:
            self._drop(oldest)
        loop = package_loop()  # the server's own loop may end first
        loop.call_soon_threadsafe(loop.call_later, self.seconds, self._expire, stream_id, now)

    def find(self, last_event_id: str) -> tuple[str, Stream[Any], int] | None:
        """Return (stream ID, stream, number of the next chunk) for a client's last event ID.

        None if the client has every chunk. Raises `HttpError` 410 if the stream is gone or belongs
        to another caller, or if its log has dropped the next chunk.
        """
        stream_id, _, place = last_event_id.rpartition(":")
        if place == END:
            return None
        is_number = place.isascii() and place.isdigit() and len(place) <= _MAX_DIGITS
        with self._lock:
            stream = self._held.get(stream_id)
            is_own = self._callers.get(stream_id) == current_caller()
        if stream is None or not is_own or not is_number:
            raise HttpError(410, "stream_gone", self._gone())
        start = int(place) + 1
        if stream.state == "done" and start >= stream.count:
            return None
        base = stream.count - len(stream.kept)
        if start < base:
            raise HttpError(
                410,
                "stream_lagged",
                f"the stream's bounded log no longer keeps chunks {start} to {base - 1}: "
                f"send last-event-id {stream_id}:{base - 1} for the chunks that it keeps",
            )
        with self._lock:
            self._left_at.pop(stream_id, None)
        return stream_id, stream, start

    def _gone(self) -> str:
        if self.seconds is None:
            return (
                "this endpoint keeps no streams for reconnecting clients "
                "(ml_stream(..., resume=seconds)): send the request again"
            )
        return (
            f"there is no such stream: streams are kept for {self.seconds:g} s after a disconnect; "
            "send the request again"
        )

    def _expire(self, stream_id: str, left_at: float) -> None:
        with self._lock:  # a client may have reconnected since
            expired = self._left_at.get(stream_id) == left_at
        if expired:
            self._drop(stream_id)

    def _drop(self, stream_id: str) -> None:
        with self._lock:
            self._left_at.pop(stream_id, None)
            self._bookmarks.pop(stream_id, None)
            self._callers.pop(stream_id, None)
            stream = self._held.pop(stream_id, None)
        if stream is not None and stream.readers == 0:
            stream.cancel()
