"""Streams over HTTP as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
from starlette.types import Receive, Send

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.streams.chunk import chunk_json, is_plain_chunk
from conduit_lab.core.streams.holders import Trail
from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.wakeups import Waiter
from conduit_lab.core.weight import weight
from conduit_lab.serving import codec

log = logging.getLogger("conduit_lab")
HEARTBEAT_SECONDS = 15.0
FIRST_SECONDS = 0.05  # without a chunk before `retry:` is sent by itself
SEND_SECONDS = 30.0  # a client that takes nothing for so long is cut
LAST_SECONDS = 0.5  # for the last event of a stream that the server's stop cuts
RETRY_MILLISECONDS = 1000  # until a browser comes back
END = "end"  # stands in the place of a chunk's number in the last id

_BATCH = 512  # chunks a write: about what the loop may be held up for
_HEAVY = 2**16  # bytes of a chunk from which its form is made on a thread
_UNSENT_BYTES = 2**18  # in the kernel for one client of a stream to come back to
_FAILED = "the stream failed; the server's log says why"

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # proxies that buffer would hold the events back
]


def event(data: Any, name: str | None = None, id: str | None = None) -> bytes:
    """Return one event with JSON data; JSON has no line breaks, so one data line holds it."""
    head = b"" if id is None else b"id: " + id.encode() + b"\n"
    if name is not None:
        head += b"event: " + name.encode() + b"\n"
    return head + b"data: " + codec.dumps(data) + b"\n\n"


async def send_stream(
    reader: Reader[Any],
    receive: Receive,
    send: Send,
    headers: Sequence[tuple[bytes, bytes]] = (),
    *,
    stream_id: str | None = None,
    leave: Callable[[Reader[Any]], object] = Reader.leave,
    browser: bool = False,
    resumable: bool = False,
) -> None:
    """Send the chunks that `reader` gets as events until its stream ends or the client leaves.

    Each event's id is `stream_id:n`, n the chunk's number, and all that is waiting goes out in one
    write. A stream that fails or is cancelled ends with an `error` event; `leave` is what happens
    to the reader at the end, by default a stream that nobody else reads is cancelled. A `browser`
    comes back after the end: an empty stream sends it an `end` event with its id. Of a `resumable`
    stream half a log stays behind what the client was sent.
    """
    trail = Trail(reader.stream, reader.index) if resumable else None
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *headers]})
        client = _Client(reader, receive, send, stream_id or uuid4().hex[:16], browser, trail)
        await client.serve()
    finally:
        leave(reader)
        if trail is not None:
            trail.close()


class _Client:
    """One client of a stream: what it was sent, whether it is still there, and whether it takes
    what it is sent.

    `since` is when it was last sent something, or since when it has not taken what is being sent:
    one timer a client looks at it, which costs nothing a chunk.
    """

    def __init__(
        self,
        reader: Reader[Any],
        receive: Receive,
        send: Send,
        stream_id: str,
        browser: bool,
        trail: Trail | None,
    ) -> None:
        self.reader = reader
        self.trail = trail
        self.receive = receive
        self.send = send
        self.stream_id = stream_id
        self.browser = browser
        self.waiter = Waiter()
        self.gone = False
        self.quiet = False
        self.sending = False
        self.loop = asyncio.get_running_loop()
        self.since = self.loop.time()
        self.scope = anyio.CancelScope()
        self.prefix = b"id: " + stream_id.encode() + b":"
        self.head = (
            b"retry: %d\n" % RETRY_MILLISECONDS
        )  # goes out with the first event or heartbeat

    async def serve(self) -> None:
        """Send everything; returns when the stream has ended, or the client has left or was cut."""
        if self.trail is not None:
            _bound_unsent(self.receive)
        watch = asyncio.ensure_future(self._watch())
        self.timer = self.loop.call_later(FIRST_SECONDS, self._look)
        try:
            with self.scope:
                await self._pump()
                return
        except (
            asyncio.CancelledError
        ):  # a server that stops has waited long enough; this task ends with the event
            if self.sending:  # the client does not read: a last event would not reach it
                await _abort(self.receive)
            else:
                with anyio.move_on_after(LAST_SECONDS):
                    await self._write(
                        self._error("stream_cancelled", "the server has stopped"), last=True
                    )
            return
        finally:
            self.timer.cancel()
            watch.cancel()
        log.warning(
            "stream %r: a client that took nothing for %.3g s was cut",
            self.reader.stream.name,
            SEND_SECONDS,
        )
        await _abort(self.receive)

    async def _pump(self) -> None:
        reader = self.reader
        stream = reader.stream
        while not self.gone:
            finished = stream.finished  # looked at first: what came before the end is taken below
            index = reader.index
            try:
                chunks = reader.take(_BATCH)
            except StreamLagged as lag:
                place = {"missed": lag.missed, "resume_at": lag.resume_at}
                await self._write(event(place, "lagged", f"{self.stream_id}:{lag.resume_at - 1}"))
                continue
            if chunks:
                body, whole = await self._encoded(chunks, index)
                if not whole:
                    await self._write(body + self._error("stream_failed", _FAILED), last=True)
                    return
                await self._write(body)
                if self.trail is not None:
                    await self._write(
                        b""
                    )  # uvicorn waits before a write until the last one has gone out
                    if not self.gone:
                        self.trail.advance(reader.index)
                if len(chunks) == _BATCH:
                    await asyncio.sleep(
                        0
                    )  # the others' turn: a write that is taken at once does not give way
            elif finished:
                await self._write(self._last(), last=True)
                return
            else:
                await self.waiter.wait(self._ready, stream._wakeups)
                if self.quiet:
                    # without an empty line: some clients take one for an event once they have seen
                    # an id
                    await self._write(b": still here\n")

    def _ready(self) -> bool:
        return self.gone or self.quiet or self.reader.ready()

    async def _encoded(self, chunks: list[Any], index: int) -> tuple[bytes, bool]:
        """Return the events of `chunks`, and whether all have a form."""
        if not all(map(is_plain_chunk, chunks)) and max(map(weight, chunks)) > _HEAVY:
            return await anyio.to_thread.run_sync(self._encode, chunks, index)
        return self._encode(chunks, index)

    def _encode(self, chunks: list[Any], index: int) -> tuple[bytes, bool]:
        parts = []
        try:
            for number, chunk in enumerate(chunks, index):
                parts.append(
                    b"%b%d\ndata: %b\n\n" % (self.prefix, number, codec.dumps(chunk_json(chunk)))
                )
        except (TypeError, ValueError, RecursionError) as error:
            log.error(
                "stream %r gave a chunk that cannot be sent: %s", self.reader.stream.name, error
            )
            return b"".join(parts), False
        return b"".join(parts), True

    def _last(self) -> bytes:
        """Return the closing event of a stream that did not end well, else nothing."""
        stream = self.reader.stream
        if stream.state == "failed":
            return self._error("stream_failed", _FAILED)
        if stream.state == "cancelled":
            return self._error("stream_cancelled", "the stream was cancelled on the server")
        if self.browser and stream.count == 0:  # a browser that has seen no id would start it again
            return event({"chunks": 0}, END, f"{self.stream_id}:{END}")
        return b""

    def _error(self, kind: str, message: str) -> bytes:
        return event({"type": kind, "message": message}, "error", f"{self.stream_id}:{END}")

    async def _write(self, body: bytes, last: bool = False) -> None:
        self.since = self.loop.time()
        self.quiet = False
        self.sending = True
        if body:
            body, self.head = self.head + body, b""
        await self.send({"type": "http.response.body", "body": body, "more_body": not last})
        self.sending = False

    async def _watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.waiter()

    def _look(self) -> None:
        """Cut a client that takes nothing, wake the pump for a heartbeat, and look again when the next is due."""
        spent = self.loop.time() - self.since
        limit = SEND_SECONDS if self.sending else FIRST_SECONDS if self.head else HEARTBEAT_SECONDS
        if spent < limit:
            self.timer = self.loop.call_later(limit - spent, self._look)
        elif self.sending:
            self.scope.cancel()
        else:
            self.quiet = True
            self.waiter()
            self.timer = self.loop.call_later(HEARTBEAT_SECONDS, self._look)


def _transport(receive: Receive) -> Any:
    """Return uvicorn's transport of a connection; None under another server."""
    return getattr(getattr(receive, "__self__", None), "transport", None)


def _bound_unsent(receive: Receive) -> None:
    """Bound what the kernel takes before the client does: it is lost to a client that leaves."""
    if (transport := _transport(receive)) is not None:
        with suppress(OSError):  # the client has left
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT_BYTES
            )


async def _abort(receive: Receive) -> None:
    """Close the connection now: uvicorn would first wait for the client to take what was written."""
    if (transport := _transport(receive)) is not None:
        transport.abort()
        await asyncio.sleep(0)  # uvicorn hears of it
