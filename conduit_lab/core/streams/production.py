"""Production: run a source on a thread or an event loop, and append its chunks."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from conduit_lab.core.errors import StreamCancelled
from conduit_lab.core.frames import is_frame
from conduit_lab.core.materialize import materialize
from conduit_lab.core.streams.channel import Channel
from conduit_lab.core.streams.chunk import frame_rows
from conduit_lab.core.streams.loop import begin_producer, is_loop_chosen, loop_for_producer
from conduit_lab.core.streams.ownership import set_owner
from conduit_lab.core.streams.producer_threads import run_on_thread

_log = logging.getLogger("conduit_lab")

_TURN_SECONDS = 1e-3  # how long a generator that never suspends may occupy its loop
_UNCHECKED_CHUNKS = 15

_tasks: set[asyncio.Task[None]] = set()  # an event loop references its tasks only weakly
_producing: contextvars.ContextVar[Channel[Any] | None] = contextvars.ContextVar(
    "conduit_lab_stream", default=None
)


def producing() -> Channel[Any] | None:
    """Return the stream whose generator is running here, or None."""
    return _producing.get()


def produce(channel: Channel[Any], source: Iterable[Any] | AsyncIterable[Any]) -> None:
    """Run `source` in the background, in a copy of the current context."""
    context = contextvars.copy_context()
    if isinstance(source, AsyncIterable):
        channel._loop = loop = loop_for_producer()
        if _is_running(loop):
            context.run(_start_task, channel, source)
        else:
            loop.call_soon_threadsafe(_start_task, channel, source, context=context)
        return
    rows = frame_rows(source) if is_frame(source) else source
    job, name = partial(context.run, _run, channel, rows), f"stream {channel.name}"
    if is_loop_chosen():
        run_on_thread(job, name)
    else:  # a notebook shows the output of a thread below the cell that started it
        threading.Thread(target=job, name=name, daemon=True).start()


def _run(channel: Channel[Any], source: Iterable[Any]) -> None:
    _producing.set(channel)
    set_owner(channel)
    begin_producer(None)
    iterator: Iterator[Any] | None = None
    try:
        iterator = iter(source)
        channel._begin()
        ended, pressure = (lambda: channel.finished), channel._pressure
        pressure.give_way(0, ended)
        # `Channel._append`, inlined: at a million chunks per second a call takes a tenth of the
        # time
        append, waiters = channel._log.append, channel._wakeups.waiters
        while channel.ended is None:
            try:
                chunk = next(iterator)
            except StopIteration as stop:
                channel._value = materialize(stop.value)
                break
            if channel.ended is not None:
                break
            if channel.first is None:
                channel._append(chunk)
                pressure.give_way(1, ended)
                continue
            full = append(chunk)
            if waiters:
                channel._wakeups.notify()
            if full:
                pressure.make_room(ended)
    except StreamCancelled:  # an input stream was cancelled
        channel._finish("cancelled")
    except BaseException as error:
        _fail(channel, error)
    finally:
        channel._finish("done")
        if isinstance(iterator, Generator):
            try:
                iterator.close()
            except BaseException as error:
                _log_late(channel, error)


def _start_task(channel: Channel[Any], source: AsyncIterable[Any]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(_run_async(channel, source))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)

    def stop() -> None:  # on the loop: once, and not while the generator is closing
        if channel._stop_producer is not None:
            channel._stop_producer = None
            task.cancel()

    def stop_soon() -> None:
        with suppress(RuntimeError):  # the loop has ended, and the task with it
            loop.call_soon_threadsafe(stop)

    channel._stop_producer = stop_soon


async def _run_async(channel: Channel[Any], source: AsyncIterable[Any]) -> None:
    _producing.set(channel)
    set_owner(channel)
    begin_producer(channel._loop)
    turn = _Turn(asyncio.get_running_loop())
    try:
        channel._begin()
        if channel.finished:
            return
        async for chunk in source:
            if channel.ended is not None:
                break
            full = channel._append(chunk)
            if (sink := channel._sink) is not None and (written := sink.push()) is not None:
                await written
            if full:
                await channel._pressure.make_room_async(lambda: channel.finished)
            if turn.is_over():
                await asyncio.sleep(0)
    except (asyncio.CancelledError, StreamCancelled):
        channel._finish("cancelled")
    except BaseException as error:
        _fail(channel, error)
    finally:
        channel._stop_producer = None
        channel._finish("done")
        if isinstance(source, AsyncGenerator):
            try:
                await source.aclose()
            except Exception as error:
                _log_late(channel, error)


class _Turn:
    """How long a generator has occupied its loop, since the loop last ran anything else.

    A generator that suspends between two chunks is checked again only after a few more.
    """

    __slots__ = ("_begun_at", "_loop", "_others_ran", "_unchecked")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._begun_at = 0.0  # of the running check, 0 if there is none
        self._others_ran = False
        self._unchecked = 0

    def is_over(self) -> bool:
        """Return whether the generator has occupied the loop for too long."""
        if self._unchecked:
            self._unchecked -= 1
        elif not self._begun_at:
            self._others_ran = False
            self._begun_at = monotonic()
            self._loop.call_soon(self._end)
        elif self._others_ran:
            self._begun_at = 0.0
            self._unchecked = _UNCHECKED_CHUNKS
        elif monotonic() - self._begun_at > _TURN_SECONDS:
            self._begun_at = 0.0
            return True
        return False

    def _end(self) -> None:
        self._others_ran = True


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _fail(channel: Channel[Any], error: BaseException) -> None:
    """End the stream with an error that every reader receives; log an error after the end."""
    if not channel._finish("failed", error):
        _log_late(channel, error)


def _log_late(channel: Channel[Any], error: BaseException) -> None:
    _log.error("stream %r: its generator raised while it was closed", channel.name, exc_info=error)
