"""Departure: cancel the work for a response when its client disconnects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.request_cycle import RequestCycle

WATCH_AFTER_SECONDS = 0.05  # minimum; most responses are sent by then, and a watch costs a task

_Result = TypeVar("_Result")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Await `work`; if the client disconnects, cancel it and raise 499, which only the log sees.

    Call it only after the request body has been read.
    """
    watch = Watch(receive)
    try:
        return await work
    except asyncio.CancelledError:
        watch.check()
        raise
    finally:
        watch.end()


class Watch:
    """Cancels the current task if its client disconnects before `end`.

    A `BoundedHttp` connection reports the disconnect itself. Under another server a task waits for
    it if the response takes longer than 0.05 s.
    """

    __slots__ = ("_cycle", "_has_left", "_receive", "_task", "_watcher", "_watches")

    def __init__(self, receive: Receive) -> None:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._has_left = False
        cycle = getattr(receive, "__self__", None)
        if type(cycle) is RequestCycle:
            self._cycle: RequestCycle | None = cycle
            cycle.departure = self.leave
            if cycle.disconnected:
                self.leave()
            return
        self._cycle = None
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        watches = _here.watches
        if watches is None or watches.loop is not loop:
            watches = _here.watches = _Watches(loop)
        self._watches = watches
        watches.add(self)

    def leave(self) -> None:
        """Cancel the task after a disconnect."""
        self._has_left = True
        if self._task is not None:
            self._task.cancel()

    def check(self) -> None:
        """Raise 499 if the task was cancelled because its client disconnected."""
        if self._has_left and self._task is not None:
            self._task.uncancel()
            raise HttpError(
                499, "client_left", "the client disconnected before the answer was complete"
            ) from None

    def end(self) -> None:
        """Stop watching."""
        if self._cycle is not None:
            self._cycle.departure = None
        else:
            self._watches.drop(self)

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the client to disconnect."""
        self._watcher = loop.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the empty body of a GET
        self.leave()

    def stop(self) -> None:
        """Cancel the wait."""
        if self._watcher is not None:
            self._watcher.cancel()


class _Watches:
    """The watches of one event loop, on one shared timer: a timer per watch costs several µs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._new: dict[Watch, None] = {}  # added since the last tick
        self._old: dict[Watch, None] = {}  # added in the tick before
        self._ticks = False

    def add(self, watch: Watch) -> None:
        """Start `watch` at the second tick from now."""
        self._new[watch] = None
        if not self._ticks:
            self._ticks = True
            self.loop.call_later(WATCH_AFTER_SECONDS, self._tick)

    def drop(self, watch: Watch) -> None:
        """Stop `watch`, started or not."""
        if watch in self._new:
            del self._new[watch]
        elif watch in self._old:
            del self._old[watch]
        else:
            watch.stop()

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
