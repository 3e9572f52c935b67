"""Holders other than readers: a bookmark, and the trail behind a client."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.streams.channel import Channel


class Bookmark:
    """Retains the chunks currently in a stream's log, for a reader that may come back.

    While it exists, the producer waits once the log is full.
    """

    holds = True
    trails = False
    starved = False

    def __init__(self, stream: Channel[Any]) -> None:
        self.index = stream._log.window[0]
        stream._pressure.add(self)


class Trail:
    """Retains half a log of chunks behind the chunks sent to a client.

    A client that disconnects and comes back can still get chunks that were lost in transit.
    """

    trails = True
    starved = False

    def __init__(self, stream: Channel[Any], index: int) -> None:
        self.index = index
        self.holds = True
        self._pressure = stream._pressure
        self._pressure.add(self)

    def advance(self, index: int) -> None:
        """Record that the chunks below `index` were sent."""
        self.index = index
        self._pressure.wake()

    def close(self) -> None:
        """Stop holding the producer."""
        self.holds = False
        self._pressure.wake()
