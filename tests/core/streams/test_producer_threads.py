"""Producer threads: reused for the streams of a server, apart for those at once, gone when idle."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from time import sleep
from typing import Any, NamedTuple

import pytest

from conduit_lab import Stream
from conduit_lab.core.streams import producer_threads
from conduit_lab.core.streams.loop import ProducingHere
from tests.core.streams.sources import WAIT

setting: ContextVar[str] = ContextVar("setting", default="none")


class Place(NamedTuple):
    """Where a generator runs, with the value of `setting`."""

    thread: threading.Thread
    name: str
    setting: str


def where() -> Iterator[Place]:
    """Yield the place, then set a variable, which the next stream must not see."""
    thread = threading.current_thread()
    yield Place(thread, thread.name, setting.get())
    setting.set("of another stream")


def served(source: Iterator[Any], name: str = "stream") -> Any:
    """Return a stream as a server starts it."""

    async def start() -> Any:
        with ProducingHere():
            return Stream(source, name=name)

    return asyncio.run(start())


def until_idle(thread: threading.Thread) -> None:
    """Wait until a thread waits for another stream."""
    for _ in range(int(WAIT / 0.001)):
        if thread in producer_threads._idle:
            return
        sleep(0.001)
    raise AssertionError("the thread is not idle")


def test_streams_one_after_the_other_share_a_thread_but_no_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(producer_threads, "_LINGER_SECONDS", WAIT)
    first: Place = served(where(), "first").result(WAIT)[0]
    until_idle(first.thread)
    setting.set("mine")
    monkeypatch.setattr(producer_threads, "_LINGER_SECONDS", 0.0)
    second: Place = served(where(), "second").result(WAIT)[0]
    assert first[1:] == ("stream first", "none")
    assert second == (first.thread, "stream second", "mine")
    first.thread.join(WAIT)
    assert not first.thread.is_alive()
    assert first.thread not in producer_threads._idle
    assert served(where()).result(WAIT)[0].thread is not first.thread


def test_streams_at_once_have_a_thread_each() -> None:
    both = threading.Barrier(2)

    def meeting() -> Iterator[int]:
        both.wait(WAIT)
        yield threading.get_ident()

    streams = [served(meeting()) for _ in range(2)]
    assert len({stream.result(WAIT)[0] for stream in streams}) == 2


def test_a_stream_outside_a_server_has_a_thread_of_its_own() -> None:
    place = next(iter(Stream(where())))
    place.thread.join(WAIT)
    assert place.thread not in producer_threads._idle
