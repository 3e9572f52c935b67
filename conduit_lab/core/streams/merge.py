"""merge: several streams as one, chunks in the order in which they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from conduit_lab.core.errors import StreamCancelled
from conduit_lab.core.streams.chunk import joined
from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.streams.wakeups import pause

T = TypeVar("T")


def merge(streams: Iterable[Stream[T]], *, name: str = "merged") -> Stream[T]:
    """Return a stream of every chunk of `streams`, in the order in which they come; it ends when
    all have ended.

    Where one fails the merged stream fails with the same error, where one is cancelled it is
    cancelled; the others are then cancelled too, unless somebody else reads them. So they are when
    the merged stream is cancelled.
    """
    readers = [stream.hold(None) for stream in streams]
    return Stream(_merged(readers), name=name)._made_of(*readers)


async def _merged(readers: list[Reader[T]]) -> AsyncIterator[T]:
    running = list(readers)
    while running:
        await pause(
            lambda: any(reader.ready() for reader in running), *(r.stream._bells for r in running)
        )
        for reader in list(running):
            finished = (
                reader.stream.finished
            )  # looked at first: what came before the end is taken below
            for chunk in reader.take():
                yield chunk
            if finished:
                running.remove(reader)
                _raise_end(reader.stream)


def _raise_end(stream: Stream[T]) -> None:
    if stream.state == "failed" and stream.error is not None:
        raise stream.error
    if stream.state == "cancelled":
        raise StreamCancelled(stream.name, joined(stream.kept))
