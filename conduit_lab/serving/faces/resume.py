"""Resume: streams that a client may come back to within a few seconds, and what a client that comes back is told."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

from conduit_lab.core.streams.holders import Bookmark
from conduit_lab.core.streams.loop import package_loop
from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.faces.events import END
from conduit_lab.serving.gate.body import HttpError

ABANDONED = (
    1000  # streams without a client that one endpoint keeps, each with its log; the oldest go first
)
_DIGITS = 18  # of a chunk's number; Python refuses to read thousands of them


class Resumes:
    """The streams of one endpoint that clients may come back to; `seconds` after the last one has
    left they go.

    A stream that still runs is then cancelled. With `seconds` None it goes when its last client
    leaves. Coming back works within one process: several workers do not know each other's streams.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._held: dict[str, Stream[Any]] = {}
        self._left_at: dict[
            str, float
        ] = {}  # the ones without a client, in the order in which they were left
        self._bookmarks: dict[str, Bookmark] = {}  # what these keep for the client
        self._lock = threading.Lock()

    @property
    def streams(self) -> list[Stream[Any]]:
        """What is held, with or without a client."""
        with self._lock:
            return list(self._held.values())

    def hold(self, stream_id: str, stream: Stream[Any]) -> None:
        """Keep a stream under its id from now on."""
        if self.seconds is not None:
            with self._lock:
                self._held[stream_id] = stream

    def arrive(self, stream_id: str) -> None:
        """Note that a client of a stream reads it."""
        with self._lock:
            self._bookmarks.pop(stream_id, None)

    def leave(self, stream_id: str, reader: Reader[Any]) -> None:
        """Note that a client of a stream has left."""
        if self.seconds is None:
            reader.leave()
            return
        bookmark = Bookmark(
            reader.stream
        )  # before the reader is closed: nothing is dropped between
        reader.close()
        if reader.stream.readers:
            return
        with self._lock:
            self._left_at.pop(stream_id, None)
            if stream_id in self._held:
                self._bookmarks[stream_id] = bookmark
            self._left_at[stream_id] = now = monotonic()
            oldest = next(iter(self._left_at)) if len(self._left_at) > ABANDONED else None
        if oldest is not None:
            self._drop(oldest)
        loop = package_loop()  # the server's own may end before
        loop.call_soon_threadsafe(loop.call_later, self.seconds, self._expire, stream_id, now)

    def find(self, last_event_id: str) -> tuple[str, Stream[Any], int] | None:
        """Return (stream id, stream, the next chunk's number) for a client that comes back; None:
        it has everything.

        Raises an `HttpError` 410 where the stream is gone, or its log no longer keeps what comes
        next.
        """
        stream_id, _, place = last_event_id.rpartition(":")
        if place == END:
            return None
        with self._lock:
            stream = self._held.get(stream_id)
        if stream is None or not (place.isascii() and place.isdigit() and len(place) <= _DIGITS):
            raise HttpError(410, "stream_gone", self._gone())
        start = int(place) + 1
        if stream.state == "done" and start >= stream.count:
            return None
        base = stream.count - len(stream.kept)
        if start < base:
            raise HttpError(
                410,
                "stream_lagged",
                f"chunks {start} to {base - 1} are no longer kept: the log of a stream is bounded; come back with "
                f"last-event-id {stream_id}:{base - 1} for what is",
            )
        with self._lock:
            self._left_at.pop(stream_id, None)
        return stream_id, stream, start

    def _gone(self) -> str:
        if self.seconds is None:
            return (
                "this endpoint keeps no streams to come back to (resume= of ml_stream): ask it anew"
            )
        return f"there is no such stream any more: they are kept {self.seconds:g} s after a client left; ask anew"

    def _expire(self, stream_id: str, left_at: float) -> None:
        with self._lock:
            back = (
                self._left_at.get(stream_id) != left_at
            )  # a client is here, or has left again since
        if not back:
            self._drop(stream_id)

    def _drop(self, stream_id: str) -> None:
        with self._lock:
            self._left_at.pop(stream_id, None)
            self._bookmarks.pop(stream_id, None)
            stream = self._held.pop(stream_id, None)
        if stream is not None and stream.readers == 0:
            stream.cancel()
