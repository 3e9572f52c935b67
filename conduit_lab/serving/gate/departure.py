"""Departure: the work for an answer is cancelled when its client disconnects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from conduit_lab.serving.errors import HttpError

WATCH_AFTER_SECONDS = 0.05  # at least; most answers are sent by then, and a watch costs a task

_Result = TypeVar("_Result")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Await `work`; cancel it when the client disconnects, and raise a 499 that nobody reads.

    The body of the request has been read before. Work of less than 0.05 s is not watched.
    """
    loop = asyncio.get_running_loop()
    watches = _here.watches
    if watches is None or watches.loop is not loop:
        watches = _here.watches = _Watches(loop)
    watch = _Watch(receive, asyncio.current_task(loop))
    watches.add(watch)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.has_left or watch.task is None:
            raise
        watch.task.uncancel()
    finally:
        watches.drop(watch)
    raise HttpError(499, "client_left", "the client disconnected before the answer was complete")


class _Watch:
    """Cancels a task once its client has disconnected."""

    __slots__ = ("_receive", "_watcher", "has_left", "task")

    def __init__(self, receive: Receive, task: asyncio.Task[Any] | None) -> None:
        self.task = task
        self.has_left = False
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the client to disconnect."""
        self._watcher = loop.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the empty body of a GET
        self.has_left = True
        if self.task is not None:
            self.task.cancel()

    def end(self) -> None:
        """Wait no longer."""
        if self._watcher is not None:
            self._watcher.cancel()


class _Watches:
    """The watches of one event loop: one timer for all, since one for each costs several µs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._new: dict[_Watch, None] = {}  # since the last tick
        self._old: dict[_Watch, None] = {}  # since the one before
        self._ticks = False

    def add(self, watch: _Watch) -> None:
        """Begin `watch` at the second tick from now."""
        self._new[watch] = None
        if not self._ticks:
            self._ticks = True
            self.loop.call_later(WATCH_AFTER_SECONDS, self._tick)

    def drop(self, watch: _Watch) -> None:
        """End `watch`, begun or not."""
        if watch in self._new:
            del self._new[watch]
        elif watch in self._old:
            del self._old[watch]
        else:
            watch.end()

    def _tick(self) -> None:
        for watch in self._old:
            watch.begin(self.loop)
        self._old, self._new = self._new, {}
        self._ticks = bool(self._old)
        if self._ticks:
            self.loop.call_later(WATCH_AFTER_SECONDS, self._tick)


class _Here(threading.local):
    """The watches of this thread's event loop."""

    watches: _Watches | None = None


_here = _Here()
