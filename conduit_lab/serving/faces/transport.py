"""The transport of a stream: batched writes, heartbeats, and a cut of clients that stop reading."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
from starlette.types import Receive, Send

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.streams.chunk import is_plain_chunk
from conduit_lab.core.streams.holders import Trail
from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.wakeups import Waiter
from conduit_lab.core.weight import weight
from conduit_lab.serving.errors import http_error
from conduit_lab.serving.faces.formats import EventFormat

HEARTBEAT_SECONDS = 15.0
PRELUDE_SECONDS = 0.05  # without a chunk until the prelude is sent on its own
SEND_SECONDS = 30.0  # a client that takes nothing for this long is cut

_LAST_EVENT_SECONDS = 0.5  # for the last event of a stream that the server's stop cuts
_MAX_BATCH_CHUNKS = 512  # per write: as long as one client may hold the event loop
_HEAVY_CHUNK_BYTES = 2**16  # from here a chunk is encoded on a thread
_MAX_UNSENT_BYTES = 2**18  # in the kernel, for one client of a resumable stream
_FAILED = "the stream failed; the server's log says why"

_log = logging.getLogger("conduit_lab")


async def send_stream(
    reader: Reader[Any],
    format: EventFormat,
    receive: Receive,
    send: Send,
    *,
    headers: list[tuple[bytes, bytes]],
    name: str = "stream",
    leave: Callable[[Reader[Any]], object] = Reader.leave,
    resumable: bool = False,
) -> None:
    """Send the reader's chunks until its stream ends or the client disconnects.

    All pending chunks go out in one write. At the end `leave` gets the reader; by default a stream
    without other readers is cancelled. Of a `resumable` stream half a log is kept behind the last
    chunk that was sent. `name` is that of the log: a stream's own may be a client's words.
    """
    trail = Trail(reader.stream, reader.index) if resumable else None
    try:
        every = [*format.headers, *headers]
        await send({"type": "http.response.start", "status": 200, "headers": every})
        await _Client(reader, format, receive, send, trail, name).serve()
    finally:
        leave(reader)
        if trail is not None:
            trail.close()


class _Client:
    """One client of a stream.

    `since` is the time of the last write, or the start of one that the client has not taken yet.
    One timer per client checks it, at no cost per chunk.
    """

    def __init__(
        self,
        reader: Reader[Any],
        format: EventFormat,
        receive: Receive,
        send: Send,
        trail: Trail | None,
        name: str,
    ) -> None:
        self.name = name
        self.reader = reader
        self.format = format
        self.receive = receive
        self.send = send
        self.trail = trail
        self.waiter = Waiter()
        self.gone = False
        self.quiet = False
        self.sending = False
        self.loop = asyncio.get_running_loop()
        self.since = self.loop.time()
        self.scope = anyio.CancelScope()
        self.prelude = format.prelude

    async def serve(self) -> None:
        """Send the whole stream; return at its end, or once the client has left or was cut."""
        if self.trail is not None:
            _bound_unsent(self.receive)
        watch = asyncio.ensure_future(self._watch())
        self.timer = self.loop.call_later(PRELUDE_SECONDS, self._check)
        try:
            with self.scope:
                await self._pump()
                return
        except asyncio.CancelledError:  # the server stops, and its grace is over
            if self.sending:  # the client does not read: a last event would not reach it
                await _abort(self.receive)
            else:
                with anyio.move_on_after(_LAST_EVENT_SECONDS):
                    last = self.format.error("stream_cancelled", "the server has stopped")
                    await self._write(last, last=True)
            return
        finally:
            self.timer.cancel()
            watch.cancel()
        message = "stream %r: a client that took nothing for %.3g s was cut"
        _log.warning(message, self.name, SEND_SECONDS)
        await _abort(self.receive)

    async def _pump(self) -> None:
        reader = self.reader
        stream = reader.stream
        while not self.gone:
            finished = stream.finished  # read before the chunks: none before the end is missed
            index = reader.index
            try:
                chunks = reader.take(_MAX_BATCH_CHUNKS)
            except StreamLagged as lag:
                await self._write(self.format.lagged(lag.missed, lag.resume_at))
                continue
            if chunks:
                body, whole = await self._encoded(chunks, index)
                if not whole:
                    body += self.format.error("stream_failed", _FAILED)
                    await self._write(body, last=True)
                    return
                await self._write(body)
                if self.trail is not None:
                    # uvicorn waits before a write until the one before has gone out
                    await self._write(b"")
                    if not self.gone and not _is_lost(self.receive):
                        self.trail.advance(reader.index)
                if len(chunks) == _MAX_BATCH_CHUNKS:
                    await asyncio.sleep(0)  # a write that is taken at once yields to no other task
            elif finished:
                await self._write(self._last(), last=True)
                return
            else:
                await self.waiter.wait(self._ready, stream._wakeups)
                if self.quiet:
                    await self._write(self.format.heartbeat)

    def _ready(self) -> bool:
        return self.gone or self.quiet or self.reader.ready()

    async def _encoded(self, chunks: list[Any], index: int) -> tuple[bytes, bool]:
        """Return the bytes of `chunks` up to the first without a form, and whether all have one."""
        if not all(map(is_plain_chunk, chunks)) and max(map(weight, chunks)) > _HEAVY_CHUNK_BYTES:
            return await anyio.to_thread.run_sync(self._encode, chunks, index)
        return self._encode(chunks, index)

    def _encode(self, chunks: list[Any], index: int) -> tuple[bytes, bool]:
        parts = []
        encode = self.format.chunk
        try:
            for number, chunk in enumerate(chunks, index):
                parts.append(encode(number, chunk))
        except (TypeError, ValueError, RecursionError) as error:
            _log.error("stream %r has a chunk that cannot be sent: %s", self.name, error)
            return b"".join(parts), False
        return b"".join(parts), True

    def _last(self) -> bytes:
        """Return the last bytes of the stream."""
        stream = self.reader.stream
        if stream.state == "failed":
            known = None if stream.error is None else http_error(stream.error)
            if known is not None:
                return self.format.error(known.kind, known.message)
            return self.format.error("stream_failed", _FAILED)
        if stream.state == "cancelled":
            return self.format.error("stream_cancelled", "the stream was cancelled on the server")
        return self.format.end(stream.count)

    async def _write(self, body: bytes, last: bool = False) -> None:
        self.since = self.loop.time()
        self.quiet = False
        self.sending = True
        if body and self.prelude:
            body, self.prelude = self.prelude + body, b""
        await self.send({"type": "http.response.body", "body": body, "more_body": not last})
        self.sending = False

    async def _watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.waiter()

    def _check(self) -> None:
        """Cut a client that takes nothing, or wake the pump for a heartbeat; then set the timer."""
        spent = self.loop.time() - self.since
        if self.sending:
            limit = SEND_SECONDS
        else:
            limit = PRELUDE_SECONDS if self.prelude else HEARTBEAT_SECONDS
        if spent < limit:
            self.timer = self.loop.call_later(limit - spent, self._check)
        elif self.sending:
            self.scope.cancel()
        else:
            self.quiet = True
            self.waiter()
            self.timer = self.loop.call_later(HEARTBEAT_SECONDS, self._check)


def _connection(receive: Receive) -> Any:
    """Return uvicorn's transport of the connection; None under another server."""
    return getattr(getattr(receive, "__self__", None), "transport", None)


def _is_lost(receive: Receive) -> bool:
    """Return whether the connection is closed: then writes return at once, with nothing sent."""
    return (connection := _connection(receive)) is not None and connection.is_closing()


def _bound_unsent(receive: Receive) -> None:
    """Bound the bytes that the kernel holds for the client: they are lost when it disconnects."""
    if (connection := _connection(receive)) is not None:
        with suppress(OSError):  # the client has left
            connection.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_UNSENT_BYTES
            )


async def _abort(receive: Receive) -> None:
    """Close the connection now: uvicorn would first wait for the client to read."""
    if (connection := _connection(receive)) is not None:
        connection.abort()
        await asyncio.sleep(0)  # uvicorn notices
