"""EventLines: the common base of the event formats of language model protocols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conduit_lab.serving import codec
from conduit_lab.serving.faces.formats import SseFormat


def data_event(value: Any) -> bytes:
    """Return an unnamed server-sent event, with one data line, since JSON has no line breaks."""
    return b"data: %b\n\n" % codec.dumps(value)


def named_event(name: str, value: Any) -> bytes:
    """Return a named server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), codec.dumps(value))


class EventLines:
    """Default headers, heartbeat and gap report of a protocol's events."""

    headers: Sequence[tuple[bytes, bytes]] = SseFormat.headers
    prelude = b""
    heartbeat = SseFormat.heartbeat

    def error(self, kind: str, message: str) -> bytes:
        """Return the end of a failed or cancelled stream."""
        raise NotImplementedError

    def lagged(self, missed: int, resume_at: int) -> bytes:
        """Return an error event, since these protocols cannot report a gap in the text."""
        return self.error("stream_lagged", f"the client was too slow: {missed} chunks are missing")
