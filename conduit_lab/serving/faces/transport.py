"""The transport of a stream: batched writes, heartbeats, and a cut of clients that stop reading."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple, cast

import anyio
import anyio.to_thread
from starlette.types import Receive, Send

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.streams.channel import Channel
from conduit_lab.core.streams.chunk import is_plain_chunk
from conduit_lab.core.streams.holders import Trail
from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.wakeups import Waiter
from conduit_lab.core.weight import weight
from conduit_lab.serving.errors import HttpError, http_error
from conduit_lab.serving.faces.formats import EventFormat
from conduit_lab.serving.faces.write_pace import join_loop, leave_loop, pause_seconds

HEARTBEAT_SECONDS = 15.0
PRELUDE_SECONDS = 0.05  # without a chunk until the headers and the prelude are sent on their own
SEND_SECONDS = 30.0  # a client that takes nothing for this long is cut

_LAST_EVENT_SECONDS = 0.5  # for the last event of a stream that the server's stop cuts
_MAX_BATCH_CHUNKS = 512  # per write: as long as one client may hold the event loop
_HEAVY_CHUNK_BYTES = 2**16  # from here a chunk is encoded on a thread
_MAX_UNSENT_BYTES = 2**18  # in the kernel, for one client of a resumable stream
_MAX_BUFFERED_BYTES = 2**14  # in the server: below, uvicorn takes a write without a wait
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

    All pending chunks go out in one write. The headers precede the first chunk, or follow the
    request by `PRELUDE_SECONDS`; a stream that fails before them raises its own error, for an
    answer with the status of that. At the end `leave` gets the reader; by default a stream
    without other readers is cancelled. Of a `resumable` stream half a log is kept behind the last
    chunk that was sent. `name` is that of the log: a stream's own may be a client's words.
    """
    trail = Trail(reader.stream, reader.index) if resumable else None
    try:
        every = [*format.headers, *headers]
        await _Client(reader, format, receive, send, trail, name, every).serve()
    finally:
        leave(reader)
        if trail is not None:
            trail.close()


class StreamFailure(NamedTuple):
    """Why a stream did not end well, as its client may know it."""

    kind: str
    message: str


def stream_failure(stream: Channel[Any]) -> StreamFailure | None:
    """Return why an ended stream failed or was cancelled; None where it ended well."""
    if stream.state == "failed":
        known = None if stream.error is None else http_error(stream.error)
        if known is not None:
            return StreamFailure(known.kind, known.message)
        return StreamFailure("stream_failed", _FAILED)
    if stream.state == "cancelled":
        return StreamFailure("stream_cancelled", "the stream was cancelled on the server")
    return None


class _Client:
    """One client of a stream.

    Its own task writes the pending chunks, then parks. While it is parked, the task of an async
    generator on the same loop writes each chunk as it comes (`push`), so that a chunk costs no
    wakeup. Where a loop has many clients, fast chunks wait up to 33 ms, for one write by the
    client's task.
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
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self.name = name
        self.reader = reader
        self.format = format
        self.receive = receive
        self.send = send
        self.trail = trail
        self.headers: list[tuple[bytes, bytes]] | None = headers  # None once they are sent
        self.connection = _connection(receive)
        self.waiter = Waiter()
        self.gone = False
        self.quiet = False
        self.is_fast = False  # chunks came before the last write was long enough ago
        self.pending = False  # chunks that `push` has left to the client's task
        self.sending = False
        self.cut = False
        self.watch: asyncio.Task[None] | None = None  # for its disconnect
        self.failure: Exception | None = None
        self.unsendable: Exception | None = None  # of a chunk that `push` could not encode
        self.unsent = b""  # the chunks before it
        self.loop = asyncio.get_running_loop()
        self.since = monotonic()
        self.prelude = format.prelude

    async def serve(self) -> None:
        """Send the whole stream; return at its end, or once the client has left or was cut."""
        if self.trail is not None:
            _bound_unsent(self.connection)
        self.task = cast("asyncio.Task[None]", asyncio.current_task())
        join_loop()
        self.timer = self.loop.call_later(PRELUDE_SECONDS, self._check)
        try:
            await self._pump()
            return
        except asyncio.CancelledError:
            if self.cut:
                self.task.uncancel()
            elif self.headers is not None:
                raise
            elif self.sending:  # the server stops, and its grace is over; the client does not read
                await self._abort()
                return
            else:
                with anyio.move_on_after(_LAST_EVENT_SECONDS):
                    last = self.format.error("stream_cancelled", "the server has stopped")
                    await self._write(last, last=True)
                return
        finally:
            leave_loop()
            self.timer.cancel()
            if self.watch is not None:
                self.watch.cancel()
        message = "stream %r: a client that took nothing for %.3g s was cut"
        _log.warning(message, self.name, SEND_SECONDS)
        await self._abort()

    async def _pump(self) -> None:
        reader = self.reader
        stream = reader.stream
        if stream._loop is self.loop and not reader.ready():
            await asyncio.sleep(0)  # the generator's task begins: it may have a chunk at once
        while not self.gone:
            finished = stream.finished  # read before the chunks: none before the end is missed
            index = reader.index
            self.pending = False
            try:
                chunks = reader.take(_MAX_BATCH_CHUNKS)
            except StreamLagged as lag:
                await self._write(self.format.lagged(lag.missed, lag.resume_at))
                continue
            if chunks:
                if _is_heavy(chunks):
                    body, error = await anyio.to_thread.run_sync(self._encode, chunks, index)
                else:
                    body, error = self._encode(chunks, index)
                if error is not None:
                    await self._end_with(body, error)
                    return
                if finished and self.trail is None and reader.index == stream.count:
                    await self._write(body + self._last(), last=True)
                    return
                await self._write(body)
                if self.trail is not None:
                    # uvicorn waits before a write until the one before has gone out
                    await self._write(b"")
                    if not self.gone and not _is_closing(self.connection):
                        self.trail.advance(reader.index)
                if len(chunks) == _MAX_BATCH_CHUNKS:
                    await asyncio.sleep(0)  # a write that is taken at once yields to no other task
            elif finished:
                if self.headers is not None and not stream.count:
                    self._raise_failure()
                await self._write(self._last(), last=True)
                return
            else:
                await self._park()
                if self.unsendable is not None:
                    await self._end_with(self.unsent, self.unsendable)
                    return
                if self.quiet:
                    await self._write(self.format.heartbeat)

    async def _end_with(self, body: bytes, error: Exception) -> None:
        """Send `body` and the end of a stream whose next chunk has no form."""
        _log.error("stream %r has a chunk that cannot be sent: %s", self.name, error)
        await self._write(body + self.format.error("stream_failed", _FAILED), last=True)

    async def _park(self) -> None:
        """Wait until there is something to do for this task, and the next write is due."""
        stream = self.reader.stream
        if self.is_fast:
            await self._pause()
            if self._ready():
                return
            self.is_fast = False
        if self.connection is None or not stream.attach(self, self.loop):
            await self.waiter.wait(self._ready, stream._wakeups)
            self.is_fast = await self._pause()
            return
        try:
            await self.waiter.wait(self._called)
        finally:
            stream.detach()
        self.is_fast = self.pending
        if self.failure is not None:
            raise self.failure

    async def _pause(self) -> bool:
        """Wait until the next write is due; return whether it was not."""
        left = self.since + pause_seconds() - monotonic()
        if left <= 0 or self.headers is not None or self.reader.stream.finished:
            return False
        await asyncio.sleep(left)
        return True

    def _ready(self) -> bool:
        return self.gone or self.quiet or self.reader.ready()

    def _called(self) -> bool:
        return not self.sending and (
            self.gone or self.quiet or self.pending or self.reader.stream.finished
        )

    def push(self) -> Awaitable[None] | None:
        """Begin to write the pending chunks, or leave them to the client's task."""
        if self.pending or self.sending:
            return None
        now = monotonic()
        left = self.since + pause_seconds() - now
        if left > 0 and self.headers is None:
            self.pending = True
            self.loop.call_later(left, self.waiter.resume)
            return None
        reader, unsent = self.reader, self.connection.get_write_buffer_size()
        index = reader.index
        try:
            chunks = reader.take()
            if unsent < _MAX_BUFFERED_BYTES and not _is_heavy(chunks):
                body, self.unsendable = self._encode(chunks, index)
                if self.unsendable is not None:
                    self.unsent = body  # the client's task ends the stream
                    index = reader.index
                else:
                    if self.trail is not None and not unsent:
                        self.trail.advance(index)  # the chunks before have gone out
                    self.since = now
                    self.sending = True
                    return self._write_pushed(body)
        except StreamLagged:
            pass
        reader.index = index
        self.pending = True
        self.waiter.resume()
        return None

    def wake(self) -> None:
        """Notice that the stream has ended."""
        self.waiter()

    async def _write_pushed(self, body: bytes) -> None:
        try:
            if self.headers is None and not self.prelude:
                message = {"type": "http.response.body", "body": body, "more_body": True}
                await self.send(message)
            else:
                await self._write(body)
        except Exception as error:  # of the connection, not of the generator that awaits this
            self.failure = error
            self.pending = True
        self.sending = False
        if self.gone or self.quiet or self.pending:  # since this write began
            self.waiter.resume()

    def _raise_failure(self) -> None:
        """Raise why the stream has ended before its first chunk, if it did not end well."""
        stream = self.reader.stream
        if stream.error is not None:
            raise stream.error
        if stream.cancelled:
            raise HttpError(503, "stream_cancelled", "the stream was cancelled on the server")

    def _encode(self, chunks: list[Any], index: int) -> tuple[bytes, Exception | None]:
        """Return the bytes of `chunks` up to the first without a form, and the error of that."""
        parts = []
        encode = self.format.chunk
        try:
            for number, chunk in enumerate(chunks, index):
                parts.append(encode(number, chunk))
        except (TypeError, ValueError, RecursionError) as error:
            return b"".join(parts), error
        return b"".join(parts), None

    def _last(self) -> bytes:
        """Return the last bytes of the stream."""
        stream = self.reader.stream
        if (failure := stream_failure(stream)) is not None:
            return self.format.error(failure.kind, failure.message)
        return self.format.end(stream.count)

    async def _write(self, body: bytes, last: bool = False) -> None:
        self.since = monotonic()
        self.quiet = False
        self.sending = True
        if self.headers is not None:
            start = {"type": "http.response.start", "status": 200, "headers": self.headers}
            self.headers = None
            await self.send(start)
        if body and self.prelude:
            body, self.prelude = self.prelude + body, b""
        await self.send({"type": "http.response.body", "body": body, "more_body": not last})
        self.sending = False

    async def _watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.waiter.resume()

    async def _abort(self) -> None:
        """Close the connection now: uvicorn would first wait for the client to read."""
        if self.connection is not None:
            self.connection.abort()
            await asyncio.sleep(0)  # uvicorn notices

    def _check(self) -> None:
        """Cut a client that takes nothing, or wake the pump for a heartbeat; then set the timer."""
        if self.watch is None:  # a short stream needs none
            self.watch = self.loop.create_task(self._watch())
        spent = monotonic() - self.since
        if self.sending:
            limit = SEND_SECONDS
        else:
            limit = HEARTBEAT_SECONDS if self.headers is None else PRELUDE_SECONDS
        if spent < limit:
            self.timer = self.loop.call_later(limit - spent, self._check)
        elif self.sending:
            self.cut = True
            self.task.cancel()
        else:
            self.quiet = True
            self.waiter.resume()
            self.timer = self.loop.call_later(HEARTBEAT_SECONDS, self._check)


def _connection(receive: Receive) -> Any:
    """Return uvicorn's transport of the connection; None under another server."""
    return getattr(getattr(receive, "__self__", None), "transport", None)


def _is_closing(connection: Any) -> bool:
    """Return whether the connection is lost: then writes return at once, with nothing sent."""
    return connection is not None and connection.is_closing()


def _bound_unsent(connection: Any) -> None:
    """Bound the bytes that the kernel holds for the client: they are lost when it disconnects."""
    if connection is not None:
        with suppress(OSError):  # the client has left
            connection.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_UNSENT_BYTES
            )


def _is_heavy(chunks: list[Any]) -> bool:
    """Return whether the chunks are to be encoded on a thread."""
    if len(chunks) == 1 and is_plain_chunk(chunks[0]):
        return False
    return not all(map(is_plain_chunk, chunks)) and max(map(weight, chunks)) > _HEAVY_CHUNK_BYTES
