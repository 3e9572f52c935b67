"""Reader: one place in a stream's log, and the way on from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import ref

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.streams.wakeups import pause

if TYPE_CHECKING:
    from conduit_lab.core.streams.stream import Stream

T = TypeVar("T")


class Reader(Iterator[T], Generic[T]):
    """One reader of a stream, sync or async, at its own place; `index` is the next chunk's number.

    Without `start` the first reader begins at chunk 0, a later one at the oldest kept chunk. With
    `holds` the producer waits for it instead of dropping chunks; for one that reads for `consumer`,
    a stream, as far as that one is held.
    """

    trails = False

    def __init__(
        self,
        stream: Stream[T],
        start: int | None,
        *,
        holds: bool = False,
        consumer: Stream[Any] | None = None,
    ) -> None:
        pressure = stream._pressure
        self.stream = stream
        self.index = start or 0
        if start is None and pressure.was_read:
            self.index = stream._log.window[0]
        self._log = stream._log
        self._open = True
        self._holds = holds
        self._consumer = None if consumer is None else ref(consumer)
        stream.readers += 1
        if holds or consumer is not None:
            pressure.add(self)
        pressure.was_read = True
        pressure.claim()

    @property
    def holds(self) -> bool:
        """Whether the stream's producer waits for this reader now."""
        if self._consumer is None:
            return self._open and self._holds
        consumer = self._consumer()
        return (
            self._open
            and consumer is not None
            and not consumer.finished
            and consumer._pressure.held
        )

    def read_for(self, consumer: Stream[Any]) -> None:
        """Hold the producer while `consumer`, a stream made from these chunks, is itself held."""
        self._consumer = ref(consumer)

    def close(self) -> None:
        """Stop reading; the stream goes on."""
        if self._open:
            self._open = False
            self.stream.readers -= 1
            self.stream._pressure.wake()

    def leave(self) -> None:
        """Stop reading, and cancel the stream where nobody else reads it."""
        if self.stream.readers == self._open:
            # before it is closed: a stream that reads for this one must not be outrun
            self.stream.cancel()
        self.close()

    def ready(self) -> bool:
        """Whether the next read returns, raises or ends without waiting."""
        finished = (
            self.stream.finished
        )  # looked at before the log: what came before the end is never missed
        base, kept = self._log.window
        return finished or self.index - base < len(kept)

    def take(self, limit: int | None = None) -> list[T]:
        """Return the chunks that are there now, `limit` at most, without waiting; `StreamLagged` once per gap."""
        base, kept = self._log.window
        if self.index < base:
            raise self._lagged()
        begin = self.index - base
        chunks = kept[begin : None if limit is None else begin + limit]
        self.index += len(chunks)
        self.stream._pressure.wake()
        return chunks

    def _lagged(self) -> StreamLagged:
        error = self._log.lagged(self.stream.name, self.index)
        self.index = error.resume_at
        return error

    def _end(self) -> None:
        self.close()
        if self.stream.state == "failed" and self.stream.error is not None:
            raise self.stream.error

    def __iter__(self) -> Reader[T]:
        return self

    def __next__(self) -> T:
        while True:
            base, kept = self._log.window
            offset = self.index - base
            if offset < 0:
                raise self._lagged()
            if offset < len(kept):
                self.index += 1
                return kept[offset]
            if self._over():
                raise StopIteration
            self.stream._pressure.wake()
            self.stream._block(self.ready)

    def __aiter__(self) -> Reader[T]:
        return self

    async def __anext__(self) -> T:
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

    def _over(self) -> bool:
        """Return whether there will be nothing more to read; raises the stream's error."""
        if not self.stream.finished:
            return False
        base, kept = (
            self._log.window
        )  # looked at after the end: what came just before it is read first
        if self.index - base < len(kept):
            return False
        self._end()
        return True

    async def wait(self) -> None:
        """Suspend until there is something to take or the stream has ended."""
        self.stream._pressure.wake()
        await pause(self.ready, self.stream._bells)

    def __del__(self) -> None:
        self.close()
