"""EventFormat: the serialization of a stream in one protocol; SseFormat: server-sent events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from conduit_lab.serving import codec
from conduit_lab.serving.faces.server_sent_event import event_bytes, is_server_sent_event

RETRY_MILLISECONDS = 1000  # a browser's reconnection delay
END = "end"  # replaces the chunk number in the last event ID


class EventFormat(Protocol):
    """Serializes one stream for one client; the transport decides when to send."""

    headers: Sequence[tuple[bytes, bytes]]
    prelude: bytes  # sent before the first event
    heartbeat: bytes  # keeps an idle connection open; ignored by clients

    def chunk(self, number: int, chunk: Any) -> bytes:
        """Serialize chunk `number`; raise `TypeError` if it is not serializable."""

    def lagged(self, missed: int, resume_at: int) -> bytes:
        """Report `missed` chunks; the next one is chunk `resume_at`."""

    def error(self, kind: str, message: str) -> bytes:
        """Return the end of a failed or cancelled stream."""

    def end(self, count: int) -> bytes:
        """Return the end of a successful stream of `count` chunks; may be empty."""


class SseFormat:
    """Server-sent events (WHATWG HTML, section 9.2), each with the ID `stream_id:number`.

    A `browser` reconnects after the end, so an empty stream sends it an `end` event: with the ID of
    that event it asks for the rest of the stream instead of starting a new one.
    """

    headers: Sequence[tuple[bytes, bytes]] = (
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # keeps proxies from buffering events
    )
    prelude = b"retry: %d\n" % RETRY_MILLISECONDS
    # no empty line: once they have an ID, some clients dispatch an event on it
    heartbeat = b": still here\n"

    def __init__(self, stream_id: str, *, browser: bool = False) -> None:
        self._browser = browser
        self._id_prefix = b"id: " + stream_id.encode() + b":"

    def chunk(self, number: int, chunk: Any) -> bytes:
        """Return one event, with a single data line, since JSON has no line breaks.

        A `ServerSentEvent` of sse-starlette is sent as is.
        """
        kind = type(chunk)
        if kind is not dict and kind is not str and is_server_sent_event(chunk):
            return event_bytes(chunk, b"%b%d\n" % (self._id_prefix, number))
        return b"%b%d\ndata: %b\n\n" % (self._id_prefix, number, codec.dumps(chunk))

    def lagged(self, missed: int, resume_at: int) -> bytes:
        """Return a `lagged` event, with the ID of the last missed chunk."""
        place = {"missed": missed, "resume_at": resume_at}
        return self._named("lagged", str(resume_at - 1), place)

    def error(self, kind: str, message: str) -> bytes:
        """Return an `error` event."""
        return self._named("error", END, {"type": kind, "message": message})

    def end(self, count: int) -> bytes:
        """Return an `end` event for a browser that has no ID yet, else nothing."""
        return b"" if count or not self._browser else self._named(END, END, {"chunks": 0})

    def _named(self, name: str, place: str, data: Any) -> bytes:
        head = b"%b%b\nevent: %b\n" % (self._id_prefix, place.encode(), name.encode())
        return head + b"data: " + codec.dumps(data) + b"\n\n"
