"""Departure: the work for an answer is cancelled when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from conduit_lab.serving.errors import HttpError

WATCH_AFTER_SECONDS = 0.1  # most answers are sent by then: a watch costs a task

_Result = TypeVar("_Result")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Await `work`; cancel it when the client disconnects, and raise a 499 that nobody reads.

    The body of the request has been read before. An answer that ends within 0.1 s is not watched.
    """
    watch = _Watch(receive)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.has_left:
            raise
        watch.task.uncancel()
    finally:
        watch.end()
    raise HttpError(499, "client_left", "the client disconnected before the answer was complete")


class _Watch:
    """Cancels the current task when its client disconnects."""

    __slots__ = ("_loop", "_receive", "_timer", "_watcher", "has_left", "task")

    def __init__(self, receive: Receive) -> None:
        self._loop = loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self.task: asyncio.Task[Any] = task
        self.has_left = False
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._timer = loop.call_later(WATCH_AFTER_SECONDS, self._begin)

    def _begin(self) -> None:
        self._watcher = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the empty body of a GET
        self.has_left = True
        self.task.cancel()

    def end(self) -> None:
        """Watch no longer."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
