"""Slots: the concurrency limit of one server, and its queue."""

from __future__ import annotations

import asyncio
from collections import deque

from conduit_lab.serving.errors import HttpError

_RETRY_SECONDS = 1  # sent as retry-after


class Slots:
    """The number of running requests of one server, and a FIFO queue of waiting ones.

    Admitted `streams` hold no slot. Used only from the server's event loop.
    """

    __slots__ = ("streams", "taken", "waiting")

    def __init__(self) -> None:
        self.taken = self.streams = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self, queued: int) -> None:
        """Wait for a slot; raise 429 if `queued` requests are already waiting."""
        if len(self.waiting) >= queued:
            raise too_busy("too many requests are waiting")
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn  # `release` hands its slot to this request
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            elif turn in self.waiting:  # `release` may have skipped it
                self.waiting.remove(turn)
            raise

    def release(self) -> None:
        """Pass the slot to the oldest waiting request, or free it."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1


def too_busy(problem: str) -> HttpError:
    """Return the 429 of a server at capacity."""
    message = f"{problem}: try again in {_RETRY_SECONDS} s"
    return HttpError(429, "too_busy", message, {"retry-after": str(_RETRY_SECONDS)})
