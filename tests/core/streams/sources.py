"""Sources for streams: generators that end, wait at a gate, or run elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from conduit_lab.core.streams.stream import Stream

WAIT = 20.0  # seconds that nothing here should need

Source = Callable[..., Any]


def sync_source(*chunks: Any) -> Iterator[Any]:
    yield from chunks


async def async_source(*chunks: Any) -> AsyncIterator[Any]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


both = pytest.mark.parametrize("source", [sync_source, async_source])


class Gate:
    """A generator of `chunks`, then, once `open`, of `rest`; its finally sets `closed`."""

    def __init__(self, *chunks: Any, rest: tuple[Any, ...] = ()) -> None:
        self.chunks, self.rest = chunks, rest
        self.open, self.closed = threading.Event(), threading.Event()

    def sync(self) -> Iterator[Any]:
        try:
            yield from self.chunks
            assert self.open.wait(WAIT)
            yield from self.rest
        finally:
            self.closed.set()

    async def asynchronous(self) -> AsyncIterator[Any]:
        try:
            for chunk in self.chunks:
                yield chunk
            while not self.open.is_set():
                await asyncio.sleep(0.001)
            for chunk in self.rest:
                yield chunk
        finally:
            self.closed.set()

    def stream(self, kind: str = "sync", **options: Any) -> Stream[Any]:
        """Return a stream of this gate whose first chunks have come."""
        stream: Stream[Any] = Stream(
            self.sync() if kind == "sync" else self.asynchronous(), **options
        )
        if self.chunks:
            reader = stream.reader(len(self.chunks) - 1)
            next(reader)
            reader.close()
        return stream


both_gates = pytest.mark.parametrize("kind", ["sync", "async"])


def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Start `function` on a thread; the returned call joins it and gives its outcome."""
    answers: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            answers.append((True, function()))
        except BaseException as error:
            answers.append((False, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join() -> Any:
        thread.join(WAIT)
        assert answers, "the thread did not end"
        good, value = answers[0]
        if not good:
            raise value
        return value

    return join
