"""Slots: how many requests of one server are answered at once, and how many wait for their turn."""

from __future__ import annotations

import asyncio
from collections import deque

from conduit_lab.serving.errors import HttpError

_RETRY_SECONDS = 1  # until a rejected client may try again


class Slots:
    """The requests that one server answers now, and those that wait, oldest first.

    `streams` have been admitted, and hold no slot. Only the server's event loop uses it.
    """

    __slots__ = ("streams", "taken", "waiting")

    def __init__(self) -> None:
        self.taken = self.streams = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self, queued: int) -> None:
        """Take a slot once it is this request's turn; a 429 where `queued` ones wait already."""
        if len(self.waiting) >= queued:
            raise too_busy("too many requests wait for their turn")
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn  # `release` passes its slot on
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            elif turn in self.waiting:  # `release` may have skipped it
                self.waiting.remove(turn)
            raise

    def release(self) -> None:
        """Pass a slot to the oldest waiting request, or free it."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1


def too_busy(problem: str) -> HttpError:
    """Return the 429 of a server that is full for now."""
    message = f"{problem}: try again in {_RETRY_SECONDS} s"
    return HttpError(429, "too_busy", message, {"retry-after": str(_RETRY_SECONDS)})
