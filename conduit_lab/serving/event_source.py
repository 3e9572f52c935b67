"""events: a stream as input of sse-starlette's `EventSourceResponse`, in any app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from conduit_lab.core.errors import InputError, StreamLagged
from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving import codec
from conduit_lab.serving.faces.formats import END
from conduit_lab.serving.faces.server_sent_event import is_server_sent_event
from conduit_lab.serving.faces.transport import stream_failure

_BATCH_CHUNKS = 64  # per read of the log
_MAX_DIGITS = 18  # of a chunk number


def events(
    stream: Stream[Any], *, stream_id: str | None = None, last_event_id: str | None = None
) -> AsyncIterator[Any]:
    """Yield the chunks of a stream as events, for `EventSourceResponse(events(stream))`.

    Each event is a `dict` with the chunk as JSON `data` and its number as `id`; a `ServerSentEvent`
    of sse-starlette is passed through. Once the log is full, the producer waits for the client. A
    failed or cancelled stream ends with an event named `error`.

    Without `stream_id` the stream is cancelled when the client disconnects. With it the IDs are
    `stream_id:number` and the stream continues: on reconnect, look it up by the first part of the
    header `last-event-id` and pass the header as `last_event_id` to resume after that event. Raises
    `InputError` for a `last_event_id` without a number.
    """
    start = 0 if last_event_id is None else _next_number(last_event_id)
    prefix = "" if stream_id is None else f"{stream_id}:"
    return _events(stream, start, prefix, keeps=stream_id is not None)


async def _events(
    stream: Stream[Any], start: int | None, prefix: str, *, keeps: bool
) -> AsyncIterator[Any]:
    if start is None:
        return
    reader = stream.hold(start)
    try:
        while True:
            finished = stream.finished  # read before taking chunks, so that none is missed
            index = reader.index
            try:
                chunks = reader.take(_BATCH_CHUNKS)
            except StreamLagged as lag:
                place = {"missed": lag.missed, "resume_at": lag.resume_at}
                yield _event(f"{prefix}{lag.resume_at - 1}", place, event="lagged")
                continue
            for number, chunk in enumerate(chunks, index):
                yield chunk if is_server_sent_event(chunk) else _event(f"{prefix}{number}", chunk)
            if not chunks:
                if finished:
                    break
                await reader.wait()
        if (failure := stream_failure(stream)) is not None:
            facts = {"type": failure.kind, "message": failure.message}
            yield _event(f"{prefix}{END}", facts, event="error")
    finally:
        _leave(reader, keeps=keeps)


def _event(id: str, value: Any, **fields: str) -> dict[str, str]:
    return {"id": id, "data": codec.dumps(value).decode(), **fields}


def _leave(reader: Reader[Any], *, keeps: bool) -> None:
    if keeps:
        reader.close()
    else:
        reader.leave()


def _next_number(last_event_id: str) -> int | None:
    """Return the number of the chunk after this ID; None after the end."""
    place = last_event_id.rpartition(":")[2]
    if place == END:
        return None
    if place.isascii() and place.isdigit() and len(place) <= _MAX_DIGITS:
        return int(place) + 1
    raise InputError(f"last_event_id expects a number at its end, got {last_event_id[:60]!r}")
