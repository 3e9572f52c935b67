"""ASGI messages of complete responses, and the headers that report fallbacks and devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.trace.span import Span

if TYPE_CHECKING:
    from starlette.types import Send

RawHeaders = list[tuple[bytes, bytes]]
MAX_FALLBACK_HEADERS = 20


class Answer(NamedTuple):
    """A complete JSON response; `headers` excludes content-type and content-length."""

    status: int
    body: bytes
    headers: RawHeaders


async def send_json(
    send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send a complete JSON response."""
    length = (b"content-length", b"%d" % len(body))
    every = [(b"content-type", b"application/json"), length, *headers]
    await send({"type": "http.response.start", "status": status, "headers": every})
    await send({"type": "http.response.body", "body": body})


async def send_empty(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send a response without a body."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": b""})


def fallback_headers(span: Span) -> RawHeaders:
    """Return the fallback and device headers of a traced call."""
    return record_headers(span.record)


def record_headers(record: CallRecord) -> RawHeaders:
    """Return a header per fallback used and per stage that fell back to the CPU."""
    texts = [("fallback", name) for name in record.fallbacks]
    texts += [("device", f"{name}: cpu") for name in record.on_cpu]
    return [
        (f"x-conduit-{kind}".encode(), text.encode("ascii", "replace"))
        for kind, text in texts[:MAX_FALLBACK_HEADERS]
    ]
