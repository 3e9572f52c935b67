"""Stream transport: batched writes, heartbeats, and disconnection of clients that stop reading."""

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
PRELUDE_SECONDS = 0.05  # without a chunk, before headers and prelude are sent alone
SEND_SECONDS = 30.0  # a client that reads nothing for this long is disconnected

_LAST_EVENT_SECONDS = 0.5  # for the last event of a stream cut by the shutdown
_MAX_BATCH_CHUNKS = 512  # per write, to bound the time that one client holds the event loop
_HEAVY_CHUNK_BYTES = 2**16  # chunks above this size are encoded on a thread
_MAX_UNSENT_BYTES = 2**18  # kernel send buffer of a client of a resumable stream
_MAX_BUFFERED_BYTES = 2**14  # server's write buffer; below this, uvicorn's write does not block
_FAILED = "the stream failed; the server's log has the reason"

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

    All pending chunks are sent in one write. The headers are sent with the first chunk, or after
    `PRELUDE_SECONDS` without one; a stream that fails before then raises its error, so the response
    can have its status. At the end `leave` is called with the reader; by default it cancels a
    stream without other readers. For a `resumable` stream half of the log is kept for chunks
    already sent. `name` is used in the log, since a stream's own name may come from a client.
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
    """The reason why a stream failed or was cancelled, as reported to its client."""

    kind: str
    message: str


def stream_failure(stream: Channel[Any]) -> StreamFailure | None:
    """Return why an ended stream failed or was cancelled, or None."""
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
    generator on the same loop writes each new chunk itself (`push`), which saves a wakeup per
    chunk. With many clients on a loop, fast chunks are delayed up to 33 ms and written together by
    the client's task. `since` is the time of the last write, or of the start of a blocked one. One
    timer per client checks it, at no cost per chunk.
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
        self.headers: list[tuple[bytes, bytes]] | None = headers  # None once sent
        self.connection = _connection(receive)
        self.waiter = Waiter()
        self.gone = False
        self.quiet = False
        self.is_fast = False  # chunks arrived before the next write was due
        self.pending = False  # chunks left by `push` to the client's task
        self.sending = False
        self.cut = False
        self.watch: asyncio.Task[None] | None = None  # waits for the disconnect
        self.failure: Exception | None = None
        self.unsendable: Exception | None = None  # of a chunk that `push` could not encode
        self.unsent = b""  # the encoded chunks before that one
        self.loop = asyncio.get_running_loop()
        self.since = monotonic()
        self.prelude = format.prelude

    async def serve(self) -> None:
        """Send the stream; return at its end, or when the client is disconnected."""
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
            elif self.sending:  # shutdown, and the client is not reading
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
        message = "stream %r: disconnected a client that read nothing for %.3g s"
        _log.warning(message, self.name, SEND_SECONDS)
        await self._abort()

    async def _pump(self) -> None:
        reader = self.reader
        stream = reader.stream
        if stream._loop is self.loop and not reader.ready():
            await asyncio.sleep(0)  # let the generator's task start: it may have a chunk at once
        while not self.gone:
            finished = stream.finished  # read before taking chunks, so that none is missed
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
                    # uvicorn's write waits until the previous one has been sent
                    await self._write(b"")
                    if not self.gone and not _is_closing(self.connection):
                        self.trail.advance(reader.index)
                if len(chunks) == _MAX_BATCH_CHUNKS:
                    await asyncio.sleep(0)  # an unblocked write does not yield to other tasks
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
        """Send `body`, and end a stream whose next chunk is not serializable."""
        _log.error("stream %r has a chunk that cannot be sent: %s", self.name, error)
        await self._write(body + self.format.error("stream_failed", _FAILED), last=True)

    async def _park(self) -> None:
        """Wait until this task has something to do and the next write is due."""
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
        """Wait until the next write is due; return whether it had to wait."""
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
        """Start writing the pending chunks, or leave them to the client's task."""
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
                    self.unsent = body  # sent by the client's task, which ends the stream
                    index = reader.index
                else:
                    if self.trail is not None and not unsent:
                        self.trail.advance(index)  # earlier chunks have been sent
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
        """Wake up the client's task at the end of the stream."""
        self.waiter()

    async def _write_pushed(self, body: bytes) -> None:
        try:
            if self.headers is None and not self.prelude:
                message = {"type": "http.response.body", "body": body, "more_body": True}
                await self.send(message)
            else:
                await self._write(body)
        except Exception as error:  # a connection error must not reach the generator
            self.failure = error
            self.pending = True
        self.sending = False
        if self.gone or self.quiet or self.pending:  # changed since this write started
            self.waiter.resume()

    def _raise_failure(self) -> None:
        """Raise the error of a stream that failed or was cancelled before its first chunk."""
        stream = self.reader.stream
        if stream.error is not None:
            raise stream.error
        if stream.cancelled:
            raise HttpError(503, "stream_cancelled", "the stream was cancelled on the server")

    def _encode(self, chunks: list[Any], index: int) -> tuple[bytes, Exception | None]:
        """Encode `chunks` up to the first unserializable one; return the bytes and its error."""
        parts = []
        encode = self.format.chunk
        try:
            for number, chunk in enumerate(chunks, index):
                parts.append(encode(number, chunk))
        except (TypeError, ValueError, RecursionError) as error:
            return b"".join(parts), error
        return b"".join(parts), None

    def _last(self) -> bytes:
        """Return the end of the stream."""
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
        """Close the connection immediately; uvicorn would first wait for the client to read."""
        if self.connection is not None:
            self.connection.abort()
            await asyncio.sleep(0)  # let uvicorn process it

    def _check(self) -> None:
        """Disconnect a client that stopped reading, or trigger a heartbeat; restart the timer."""
        if self.watch is None:  # not needed for short streams
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
    """Return the connection's transport under uvicorn, or None."""
    return getattr(getattr(receive, "__self__", None), "transport", None)


def _is_closing(connection: Any) -> bool:
    """Return whether the connection is lost, so writes are discarded."""
    return connection is not None and connection.is_closing()


def _bound_unsent(connection: Any) -> None:
    """Limit the kernel's send buffer, whose content is lost on a disconnect."""
    if connection is not None:
        with suppress(OSError):  # already disconnected
            connection.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_UNSENT_BYTES
            )


def _is_heavy(chunks: list[Any]) -> bool:
    """Return whether to encode the chunks on a thread."""
    if len(chunks) == 1 and is_plain_chunk(chunks[0]):
        return False
    return not all(map(is_plain_chunk, chunks)) and max(map(weight, chunks)) > _HEAVY_CHUNK_BYTES
