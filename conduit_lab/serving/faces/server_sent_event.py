"""Events of sse-starlette as chunks of a stream: they are sent as they say."""

from __future__ import annotations

import sys
from typing import Any


def is_server_sent_event(chunk: Any) -> bool:
    """Return whether a chunk is a `ServerSentEvent` of sse-starlette, which is not imported."""
    module = sys.modules.get("sse_starlette.event")
    return module is not None and isinstance(chunk, module.ServerSentEvent)


def event_bytes(event: Any, id_line: bytes) -> bytes:
    """Return the bytes of a `ServerSentEvent`; one with data and no ID of its own gets `id_line`.

    Its lines end with a line feed, with any `sep`: readers of single lines expect that.
    """
    body: bytes = event.encode().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return id_line + body if event.id is None and event.data is not None else body
