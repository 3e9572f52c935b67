"""Streams over HTTP as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import logging
from typing import Any

import anyio
from starlette.types import Receive, Send

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.stream import Reader, Stream
from conduit_lab.serving import codec

log = logging.getLogger("conduit_lab")
HEARTBEAT_SECONDS = 15.0

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # proxies that buffer would hold the events back
]


def event(data: Any, name: str | None = None) -> bytes:
    """Return one event with JSON data; JSON has no line breaks, so one data line holds it."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + codec.dumps(data) + b"\n\n"


_FAILED = event({"type": "stream_failed", "message": "the stream failed; the server's log says why"}, "error")


async def send_stream(stream: Stream[Any], receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    """Send the chunks of `stream` as events until it ends or the client leaves.

    All that is waiting goes out in one write. A stream that fails ends with an `error` event; one that nobody else
    reads when the client leaves is cancelled.
    """
    reader = stream.reader()
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *headers]})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_disconnect, receive, tasks.cancel_scope)
            last = await _pump(reader, send) or _last(stream)
            await send({"type": "http.response.body", "body": last, "more_body": False})
            tasks.cancel_scope.cancel()
    finally:
        reader.close()
        if stream.readers == 0:
            stream.cancel()


async def _pump(reader: Reader[Any], send: Send) -> bytes:
    """Send all chunks as events; returns the closing event where one has no JSON form, else nothing."""
    while True:
        finished = reader.stream.finished
        body = b""
        try:
            for chunk in reader.take():
                body += event(chunk)
        except StreamLagged as lag:
            body = event({"missed": lag.missed}, "lagged")
        except TypeError as error:
            log.error("stream %r gave a chunk that cannot be sent: %s", reader.stream.name, error)
            return body + _FAILED
        if body:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        elif finished:
            return b""
        else:
            with anyio.move_on_after(HEARTBEAT_SECONDS) as wait:
                await reader.wait()
            if wait.cancelled_caught:
                await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})


def _last(stream: Stream[Any]) -> bytes:
    """Return the closing event of a stream that did not end well, else nothing."""
    if stream.state == "failed":
        return _FAILED
    if stream.state == "cancelled":
        return event({"type": "stream_cancelled", "message": "the stream was cancelled on the server"}, "error")
    return b""


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
