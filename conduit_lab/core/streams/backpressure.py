"""Backpressure: with a full log, a producer waits for its readers instead of dropping chunks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from time import monotonic, sleep
from typing import Any, Protocol
from weakref import ReferenceType, ref

from conduit_lab.core.streams.log import Log
from conduit_lab.core.streams.wakeups import Wakeups, block_until, wait_until

_GIVE_WAY_SECONDS = 0.001
_GIVE_WAY_CHECKS = 100  # per trim of the log
POLL_SECONDS = 0.2  # between two checks of a held task, as in `block_until` on a thread
OPENING_SECONDS = 0.05  # a producer waits this long for its first reader, twice at most

_patience: ContextVar[float] = ContextVar("conduit_lab_patience", default=0.0)


# for one task, where a context manager costs too much: the first returns the second's token
begin_patience = _patience.set
end_patience = _patience.reset


@contextmanager
def awaiting_reader(seconds: float) -> Iterator[None]:
    """With a full log, let streams created inside wait for their first reader, up to `seconds`."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


class Holder(Protocol):
    """A cursor into a stream's log that its producer must not overrun while it `holds`.

    If it `trails`, half a log of chunks behind it is retained.
    """

    index: int
    trails: bool

    @property
    def starved(self) -> bool:
        """Whether its thread waits for a chunk, or has not been scheduled since one arrived."""

    @property
    def holds(self) -> bool:
        """Whether the producer currently waits for it."""


class Backpressure:
    """The holders of one stream, referenced weakly, and the wait for its first reader.

    `was_read` is True once the stream has had a reader; `room` wakes a held producer.
    """

    __slots__ = ("_awaits", "_holders", "_lock", "_log", "_until", "room", "was_read")

    def __init__(self, log: Log[Any]) -> None:
        patience = _patience.get()
        self.room: Wakeups | None = None
        self.was_read = False
        self._log = log
        self._awaits = patience > 0
        self._until = monotonic() + patience if patience else 0.0
        self._holders: tuple[ReferenceType[Holder], ...] = ()  # replaced under _lock
        self._lock = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether the producer waits once the log is full."""
        return self._unclaimed or any(holder.holds for holder in self._present())

    def add(self, holder: Holder) -> None:
        """Hold the producer for `holder` while it holds."""
        with self._lock:
            self._holders = (*(each for each in self._holders if each() is not None), ref(holder))

    def give_way(self, index: int, ended: Callable[[], bool]) -> None:
        """Briefly wait for the expected first reader to read the chunks below `index`.

        Called on the producer's thread, with 0 before it starts and with 1 after its first chunk. A
        generator that computes holds the GIL, and each step of the server's thread up to the first
        event would otherwise wait 5 ms for it.
        """
        if not self._awaits:
            return

        def opened() -> bool:
            unread = any(each.index < index and each.holds for each in self._present())
            return ended() or not (unread or self._unclaimed)

        if not opened():
            self.room = self.room or Wakeups()
            block_until(self.room, opened, monotonic() + OPENING_SECONDS)

    def make_room(self, ended: Callable[[], bool]) -> None:
        """Drop the oldest chunks once the holders have read them; on the producer's thread.

        A stream that has `ended` no longer waits. A starved reader gets a moment to run: it is not
        slow, but on a busy machine it may be scheduled only after a fast producer has filled the
        log.
        """
        index, free = self._awaited(ended)
        if not free():
            self.room = self.room or Wakeups()
            block_until(self.room, free)
        for _ in range(_GIVE_WAY_CHECKS):
            if not self._starving(index):
                break
            sleep(_GIVE_WAY_SECONDS)
        self._log.drop(index)

    async def make_room_async(self, ended: Callable[[], bool]) -> None:
        """Async version of `make_room`, for the producer's task."""
        index, free = self._awaited(ended)
        while not free():
            self.room = self.room or Wakeups()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await wait_until(free, self.room)
        for _ in range(_GIVE_WAY_CHECKS):
            if not self._starving(index):
                break
            await asyncio.sleep(_GIVE_WAY_SECONDS)
        self._log.drop(index)

    def _starving(self, index: int) -> bool:
        return any(each.starved and each.index < index for each in self._present())

    def claim(self) -> None:
        """Stop waiting for a first reader."""
        if self._until:
            self._until = 0.0
            self.wake()

    def wake(self) -> None:
        """Let a held producer check its holders again."""
        if self.room is not None and self.room.waiters:
            self.room.notify()

    @property
    def _unclaimed(self) -> bool:
        return self._until > 0 and monotonic() < self._until

    def _awaited(self, ended: Callable[[], bool]) -> tuple[int, Callable[[], bool]]:
        """Return the first index to retain, and whether older chunks may be dropped."""
        index = self._log.surplus
        trailed = any(holder.trails for holder in self._present())
        trail_index = self._log.half_from(index) if trailed else index

        def free() -> bool:
            return ended() or not self._needed(index, trail_index)

        return index, free

    def _needed(self, index: int, trail_index: int) -> bool:
        """Return whether a holder is below `index`, or a trailing one below `trail_index`."""
        return index > 0 and (
            self._unclaimed
            or any(
                each.index < (trail_index if each.trails else index) and each.holds
                for each in self._present()
            )
        )

    def _present(self) -> Iterator[Holder]:
        return (holder for each in self._holders if (holder := each()) is not None)
