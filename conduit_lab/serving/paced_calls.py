"""PacedCalls: run short calls on the event loop and long ones on worker threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Any, TypeVar

from starlette.types import Receive

from conduit_lab.core.occupancy import occupied_seconds, usage
from conduit_lab.serving.gate.departure import while_connected
from conduit_lab.serving.handler_pace import HandlerPace
from conduit_lab.serving.handler_threads import HandlerThreads

_Result = TypeVar("_Result")


class PacedCalls:
    """Calls functions for requests by the same rule as an endpoint's handler: see `HandlerPace`.

    A call on a thread is abandoned when its client disconnects.
    """

    __slots__ = ("_paces", "_threads")

    def __init__(self, threads: HandlerThreads) -> None:
        self._threads = threads
        self._paces: dict[str, HandlerPace] = {}

    async def run(
        self, name: str, size: int, receive: Receive, function: Callable[..., _Result], *args: Any
    ) -> _Result:
        """Run `function(*args)` for a request of `size` bytes.

        `name` is the model or store in use: the calls of each name are measured together.
        """
        pace = self._paces.get(name)
        if pace is None:
            pace = self._paces[name] = HandlerPace()
        if pace.is_short(size):
            return _call_here(pace, size, function, args)
        begun = perf_counter()
        times: list[float] = []
        work = self._threads.run(_call_timed, times, function, args)
        try:
            return await while_connected(receive, work)
        finally:
            cpu, wall = times or (0.0, perf_counter() - begun)
            pace.ran_on_thread(size, cpu, wall)


def _call_here(
    pace: HandlerPace, size: int, function: Callable[..., _Result], args: tuple[Any, ...]
) -> _Result:
    """Call a function on the event loop's thread, with the running loop hidden from it."""
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    before, begun = usage(), perf_counter()
    try:
        return function(*args)
    finally:
        asyncio._set_running_loop(loop)
        pace.ran_on_loop(size, occupied_seconds(begun, before))


def _call_timed(
    times: list[float], function: Callable[..., _Result], args: tuple[Any, ...]
) -> _Result:
    before, begun, cpu = usage(), perf_counter(), thread_time()
    try:
        return function(*args)
    finally:
        times += (thread_time() - cpu, occupied_seconds(begun, before))
