"""Calls with a deadline, from a thread or an event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any

from conduit_lab.core.errors import DeadlineExceeded, Overloaded
from conduit_lab.core.forking import in_forked_child
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.streams.ownership import CallScope
from conduit_lab.core.trace.span import abandon_spans, current
from conduit_lab.flow.workers import ThreadCall, start_calls

MAX_LATE_CALLS = 16  # per stage: late calls that still occupy a thread

_lock = threading.Lock()
_late: dict[int, set[_LimitedCall]] = {}  # keyed by the id of their stage, which they keep alive


def call_within(stage: Stage, value: Any, seconds: float | None) -> Any:
    """Return `stage(value)`, or raise `DeadlineExceeded` after `seconds`.

    The stage runs on a worker thread in a copy of this context. Python cannot stop a thread: past
    the deadline the call is abandoned. Its span ends with the error, the streams and generations
    that it started are cancelled, its thread runs until the function returns, and the late result
    is dropped. A stage with 16 such threads raises `Overloaded` immediately. If `seconds` is None,
    the stage runs on this thread.
    """
    return run_within(stage, stage, value, seconds)


def run_within(
    stage: Stage, function: Callable[[Any], Any], value: Any, seconds: float | None
) -> Any:
    """Return `function(value)` for a stage, with the deadline semantics of `call_within`."""
    if seconds is None:
        return function(value)
    ended: SimpleQueue[ThreadCall] = SimpleQueue()
    with CallScope():
        call = _LimitedCall(stage, function, value, ended.put)
        try:
            ended.get(timeout=max(seconds, 0.0))
        except Empty:
            if call.abandon(exceeded(stage, seconds)):
                raise exceeded(stage, seconds) from None
        except BaseException as error:
            call.abandon(error)
            raise
        return call.outcome()


async def acall_within(stage: Stage, value: Any, seconds: float | None) -> Any:
    """Await `stage.acall(value)`, or raise `DeadlineExceeded` after `seconds`.

    Past the deadline, everything that the call awaits is cancelled, and awaited until it has ended.
    A function on a worker thread is abandoned as in `call_within`.
    """
    if seconds is None:
        return await stage.acall(value)
    with CallScope():
        takes_thread = type(stage).arun is Stage.arun
        if isinstance(stage, Function):
            takes_thread = not inspect.iscoroutinefunction(stage.function)
        if takes_thread:
            return await _await_thread(stage, value, seconds)
        return await _await_task(stage, value, seconds)


async def _await_thread(stage: Stage, value: Any, seconds: float) -> Any:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def end(_: ThreadCall) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(ended.set)

    call = _LimitedCall(stage, stage, value, end)  # counted, unlike anyio's threads
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        if call.abandon(exceeded(stage, seconds)):
            raise exceeded(stage, seconds) from None
    except BaseException as error:
        call.abandon(error)
        raise
    return call.outcome()


async def _await_task(stage: Stage, value: Any, seconds: float) -> Any:
    context, outer = copy_context(), current()
    task = asyncio.get_running_loop().create_task(stage.acall(value), context=context)
    try:
        await asyncio.wait([task], timeout=seconds)
        if task.done():
            return task.result()
        abandon_spans(context, outer, exceeded(stage, seconds))
        raise exceeded(stage, seconds)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # discarded, like the late result


class _LimitedCall(ThreadCall):
    """A call that may be abandoned; its thread is counted until it is free again."""

    __slots__ = ("_outer", "_stage", "has_ended")

    def __init__(
        self,
        stage: Stage,
        function: Callable[[Any], Any],
        value: Any,
        on_time: Callable[[ThreadCall], object],
    ) -> None:
        with _lock:
            late = len(_late.get(id(stage), ()))
        if late >= MAX_LATE_CALLS:
            raise Overloaded(
                f"{stage.name!r} has {late} calls that still run past their deadline, each on a "
                "thread: no more are started until one of them returns. Make the function itself "
                "give up, for example with the timeout of its client"
            )
        super().__init__(function, value, on_time)
        self._stage = stage
        self._outer = current()
        self.has_ended = False
        if not start_calls([self]):
            raise Overloaded(f"{stage.name!r} needs a thread, but the system cannot start more")

    def abandon(self, error: BaseException) -> bool:
        """End its span with `error` and drop its late result; return False if it had ended."""
        with _lock:
            if self.has_ended:
                return False
            _late.setdefault(id(self._stage), set()).add(self)
        abandon_spans(self.context, self._outer, error)
        return True

    def end(self) -> None:
        """Report its end, unless it was abandoned."""
        with _lock:
            self.has_ended = True
            late = _late.get(id(self._stage), set())
            is_late = self in late
            late.discard(self)
            if not late:
                _late.pop(id(self._stage), None)
        if not is_late:
            super().end()


def exceeded(stage: Stage, seconds: float) -> DeadlineExceeded:
    """Return the error for a stage that took longer than `seconds`."""
    return DeadlineExceeded(
        f"{stage.name!r} expected to answer within {seconds:g} s, got no answer: "
        "give it a longer timeout= or a smaller input"
    )


def _reset() -> None:
    """Reset the counts in a forked child, which has none of these threads."""
    global _lock
    _lock = threading.Lock()
    _late.clear()


in_forked_child(_reset)
