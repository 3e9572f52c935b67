"""EventLines: the parts of an event format that all protocols of language models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conduit_lab.serving import codec
from conduit_lab.serving.faces.formats import SseFormat


def data_event(value: Any) -> bytes:
    """Return a server-sent event without a name; JSON has no line breaks, so one line holds it."""
    return b"data: %b\n\n" % codec.dumps(value)


def named_event(name: str, value: Any) -> bytes:
    """Return a server-sent event with a name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), codec.dumps(value))


class EventLines:
    """The headers, the heartbeat and the report of a gap in a protocol's events."""

    headers: Sequence[tuple[bytes, bytes]] = SseFormat.headers
    prelude = b""
    heartbeat = SseFormat.heartbeat

    def error(self, kind: str, message: str) -> bytes:
        """Return the last bytes of a stream that did not end well."""
        raise NotImplementedError

    def lagged(self, missed: int, resume_at: int) -> bytes:
        """Return an error event: no protocol of language models can report a gap in a text."""
        return self.error("stream_lagged", f"the client was too slow: {missed} chunks are missing")
