"""Events of sse-starlette as stream chunks, sent as they are."""

from __future__ import annotations

import sys
from typing import Any


def is_server_sent_event(chunk: Any) -> bool:
    """Return whether a chunk is an sse-starlette `ServerSentEvent`, without importing it."""
    module = sys.modules.get("sse_starlette.event")
    return module is not None and isinstance(chunk, module.ServerSentEvent)


def event_bytes(event: Any, id_line: bytes) -> bytes:
    """Serialize a `ServerSentEvent`, with `id_line` if it has data but no ID.

    Lines end with a line feed whatever its `sep`, as line-based clients expect.
    """
    body: bytes = event.encode().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return id_line + body if event.id is None and event.data is not None else body
