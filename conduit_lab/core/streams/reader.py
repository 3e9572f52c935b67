"""Reader: one cursor into a stream's log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar
from weakref import ref

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.streams.channel import Channel
from conduit_lab.core.streams.wakeups import wait_until

_T_co = TypeVar("_T_co", covariant=True)


class Reader(Iterator[_T_co]):
    """One reader of a stream, sync or async; `index` is the next chunk that it reads.

    Without `start`, the first reader starts at chunk 0, later ones at the oldest retained chunk.
    With `holds`, the producer waits for it instead of dropping chunks; a reader for `consumer`, a
    derived stream, holds the producer while that stream is held.
    """

    trails = False

    def __init__(
        self,
        stream: Channel[_T_co],
        start: int | None,
        *,
        holds: bool = False,
        consumer: Channel[Any] | None = None,
    ) -> None:
        pressure = stream._pressure
        self.stream = stream
        self.index = start or 0
        if start is None and pressure.was_read:
            self.index = stream._log.window[0]
        self.starved = False
        self._log = stream._log
        self._open = True
        self._holds = holds
        self._consumer = None if consumer is None else ref(consumer)
        stream.readers += 1
        pressure.add(self)
        pressure.was_read = True
        pressure.claim()

    @property
    def holds(self) -> bool:
        """Whether the stream's producer currently waits for this reader."""
        if self._consumer is None:
            return self._open and self._holds
        consumer = self._consumer()
        return (
            self._open
            and consumer is not None
            and not consumer.finished
            and consumer._pressure.held
        )

    def read_for(self, consumer: Channel[Any]) -> None:
        """Hold the producer while `consumer`, a stream derived from this one, is itself held."""
        self._consumer = ref(consumer)

    def close(self) -> None:
        """Stop reading; the stream continues."""
        if self._open:
            self._open = False
            self.stream.readers -= 1
            self.stream._pressure.wake()

    def leave(self) -> None:
        """Stop reading, and cancel the stream if it has no other readers."""
        if self.stream.readers == self._open:
            # before closing: otherwise the producer drops chunks that a consumer still needs
            self.stream.cancel()
        self.close()

    def ready(self) -> bool:
        """Return whether the next read returns, raises or ends without waiting."""
        # read before the log, so that the last chunks are not missed
        finished = self.stream.finished
        base, kept = self._log.window
        return finished or self.index - base < len(kept)

    @property
    def lags(self) -> bool:
        """Whether its next chunk was dropped."""
        return self.index < self._log.window[0]

    def take(self, limit: int | None = None) -> list[_T_co]:
        """Return the available chunks, at most `limit`, without waiting.

        Raises `StreamLagged` once per gap.
        """
        base, kept = self._log.window
        begin = self.index - base
        if begin < 0:
            raise self._lagged()
        chunks = kept[begin : None if limit is None else begin + limit]
        self.index += len(chunks)
        self.stream._pressure.wake()
        return chunks

    def __iter__(self) -> Reader[_T_co]:
        return self

    def __next__(self) -> _T_co:
        while True:
            base, kept = self._log.window
            if (offset := self.index - base) < 0:
                raise self._lagged()
            try:
                chunk = kept[offset]
            except IndexError:
                if self._over():
                    # so that `yield from` returns the stream's value
                    raise StopIteration(self.stream._value) from None
            else:
                self.index += 1
                return chunk
            self.block()

    def block(self, deadline: float | None = None) -> bool:
        """Block until there is a chunk to take or the stream has ended; False at the deadline.

        `deadline` is on the monotonic clock.
        """
        self.stream._pressure.wake()
        self.starved = True
        try:
            return self.stream._block(self.ready, deadline)
        finally:
            self.starved = False

    def __aiter__(self) -> Reader[_T_co]:
        return self

    async def __anext__(self) -> _T_co:
        while True:
            base, kept = self._log.window
            offset = self.index - base
            if offset < 0:
                raise self._lagged()
            if offset < len(kept):
                self.index += 1
                return kept[offset]
            if self._over():
                raise StopAsyncIteration
            await self.wait()

    async def wait(self) -> None:
        """Suspend until there is a chunk to take or the stream has ended."""
        self.stream._pressure.wake()
        await wait_until(self.ready, self.stream._wakeups)

    def _over(self) -> bool:
        """Return whether nothing more will arrive; raise the stream's error."""
        if not self.stream.finished:
            return False
        base, kept = self._log.window  # after the end, first read the chunks added just before it
        if self.index - base < len(kept):
            return False
        self.close()
        if self.stream.state == "failed" and self.stream.error is not None:
            raise self.stream.error
        return True

    def _lagged(self) -> StreamLagged:
        error = self._log.lagged(self.stream.name, self.index)
        self.index = error.resume_at
        return error

    def __del__(self) -> None:
        self.close()
