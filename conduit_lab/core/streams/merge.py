"""merge: combine several streams into one, with chunks in order of arrival."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.streams.wakeups import wait_until

_T = TypeVar("_T")


def merge(streams: Iterable[Stream[_T]], *, name: str = "merged") -> Stream[_T]:
    """Return a stream of all chunks of `streams` in order of arrival; it ends after the last one.

    If one fails, the merged stream fails with the same error; if one is cancelled, it is cancelled.
    The others are then cancelled too, unless they have another reader. The same applies when the
    merged stream is cancelled.
    """
    sources = [(stream, stream.hold(None)) for stream in streams]
    readers = [reader for _, reader in sources]
    return Stream(_merged(sources), name=name)._read_from(*readers)


async def _merged(sources: list[tuple[Stream[_T], Reader[_T]]]) -> AsyncIterator[_T]:
    running = list(sources)
    while running:
        await wait_until(
            lambda: any(reader.ready() for _, reader in running),
            *(stream._wakeups for stream, _ in running),
        )
        for stream, reader in list(running):
            finished = stream.finished  # checked before `take`, which then returns the last chunks
            for chunk in reader.take():
                yield chunk
            if finished:
                running.remove((stream, reader))
                if stream.state == "failed" and stream.error is not None:
                    raise stream.error
                stream._raise_cancelled()
