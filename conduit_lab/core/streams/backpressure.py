"""Backpressure: when the producer of a stream waits for its readers instead of dropping chunks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ReferenceType, ref

from conduit_lab.core.streams.wakeups import Bells, block, pause

if TYPE_CHECKING:
    from conduit_lab.core.streams.stream import Stream

POLL_SECONDS = (
    0.2  # between two checks of a held producer's task, as `block` makes them on a thread
)

_patience: ContextVar[float] = ContextVar("conduit_lab_patience", default=0.0)


@contextmanager
def awaiting_reader(seconds: float) -> Iterator[None]:
    """Let streams made inside wait up to `seconds` for their first reader once their log is full."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


class Holder(Protocol):
    """A place in a stream's log that its producer may not outrun while it `holds`.

    Behind one that `trails`, half a log of chunks is kept.
    """

    index: int
    trails: bool

    @property
    def holds(self) -> bool:
        """Whether the producer waits for it now."""


class Bookmark:
    """Keeps the chunks that a log holds now, for a reader that may come back.

    As long as it lives, the producer waits once the log is full.
    """

    holds = True
    trails = False

    def __init__(self, stream: Stream[Any]) -> None:
        self.index = stream._log.window[0]
        stream._pressure.add(self)


class Trail:
    """Keeps half a log of chunks behind the place up to which a client was sent them.

    What is on its way when a client leaves is there when it comes back.
    """

    trails = True

    def __init__(self, stream: Stream[Any], index: int) -> None:
        self.index = index
        self.holds = True
        self._stream = stream
        stream._pressure.add(self)

    def advance(self, index: int) -> None:
        """Note that the chunks below `index` were sent."""
        self.index = index
        self._stream._pressure.wake()

    def close(self) -> None:
        """Hold the producer no longer."""
        self.holds = False
        self._stream._pressure.wake()


class Backpressure:
    """The holders of one stream, referred to weakly, and the wait for its first reader.

    `was_read` says whether it ever had a reader, `room` wakes a producer that is held.
    """

    __slots__ = ("_holders", "_lock", "_until", "room", "was_read")

    def __init__(self) -> None:
        patience = _patience.get()
        self.room: Bells | None = None
        self.was_read = False
        self._until = monotonic() + patience if patience else 0.0
        self._holders: tuple[ReferenceType[Holder], ...] = ()
        self._lock = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether the producer waits once the log is full."""
        return self._unclaimed or any(holder.holds for holder in self._present())

    def behind(self, place: int, beyond: int) -> bool:
        """Return whether the chunks below `place` must be kept until who trails is at `beyond`."""
        return place > 0 and (
            self._unclaimed
            or any(
                each.index < (beyond if each.trails else place) and each.holds
                for each in self._present()
            )
        )

    def add(self, holder: Holder) -> None:
        """Hold the producer for `holder` while that holds."""
        with self._lock:
            self._holders = (*(each for each in self._holders if each() is not None), ref(holder))

    def make_room(self, stream: Stream[Any]) -> None:
        """Drop the oldest chunks once the holders have read them; on the producer's thread."""
        place = stream._log.surplus
        beyond = self._beyond(stream, place)
        if self.behind(place, beyond):
            self.room = self.room or Bells()
            block(self.room, lambda: stream.finished or not self.behind(place, beyond))
        stream._log.drop(place)

    async def make_room_async(self, stream: Stream[Any]) -> None:
        """Do the same in the task of the producer."""
        place = stream._log.surplus
        beyond = self._beyond(stream, place)
        while self.behind(place, beyond) and not stream.finished:
            self.room = self.room or Bells()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await pause(
                        lambda: stream.finished or not self.behind(place, beyond), self.room
                    )
        stream._log.drop(place)

    def claim(self) -> None:
        """Stop waiting for a first reader."""
        if self._until:
            self._until = 0.0
            self.wake()

    def wake(self) -> None:
        """Let a held producer check its holders again."""
        if self.room is not None and self.room.waiting:
            self.room.ring()

    @property
    def _unclaimed(self) -> bool:
        return self._until > 0 and monotonic() < self._until

    def _beyond(self, stream: Stream[Any], place: int) -> int:
        """Return where holders that trail must be for the chunks below `place` to be dropped."""
        trailed = any(holder.trails for holder in self._present())
        return stream._log.beyond(place) if trailed else place

    def _present(self) -> Iterator[Holder]:
        return (holder for each in self._holders if (holder := each()) is not None)
