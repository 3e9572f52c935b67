"""Streams: errors and cancellation. How long anything takes is never asserted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from conduit_lab.core.errors import StreamCancelled
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.views.view import View
from conduit_lab.core.views.viewed import Viewed
from tests.core.streams.sources import (
    WAIT,
    Gate,
    Source,
    async_source,
    both,
    both_gates,
    in_thread,
    sync_source,
)


class Broken(Exception):
    pass


def sync_broken() -> Iterator[int]:
    yield 1
    raise Broken("of glass")


async def async_broken() -> AsyncIterator[int]:
    yield 1
    raise Broken("of glass")


@pytest.mark.parametrize("source", [sync_broken, async_broken])
def test_error_arrives_at_every_reader_and_in_the_result(source: Source) -> None:
    stream = Stream(source())
    for _ in range(2):
        reader = iter(stream)
        assert next(reader) == 1
        with pytest.raises(Broken, match="of glass"):
            next(reader)
    with pytest.raises(Broken):
        stream.result(WAIT)

    async def read() -> Any:
        return [chunk async for chunk in stream]

    with pytest.raises(Broken):
        asyncio.run(read())
    assert stream.state == "failed"
    assert isinstance(stream.error, Broken)
    assert stream.kept == [1]


def test_source_that_cannot_be_iterated_fails_the_stream() -> None:
    stream: Stream[Any] = Stream(5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not iterable"):
        stream.result(WAIT)


def test_source_whose_iter_fails_fails_the_stream() -> None:
    class Rotten:
        def __iter__(self) -> Iterator[int]:
            raise Broken

    with pytest.raises(Broken):
        Stream(Rotten()).result(WAIT)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_even_an_exit_in_the_generator_ends_the_stream(error: type[BaseException]) -> None:
    def leave() -> Iterator[int]:
        yield 1
        raise error

    stream = Stream(leave())
    with pytest.raises(error):
        stream.result(WAIT)
    assert stream.state == "failed"


@both_gates
def test_cancel_ends_readers_at_once(kind: str) -> None:
    gate = Gate("a", "b")  # the sync generator goes on blocking
    stream = gate.stream(kind)
    join = in_thread(lambda: list(stream))
    stream.cancel()
    assert join() == ["a", "b"]
    with pytest.raises(StreamCancelled) as caught:
        stream.result(WAIT)
    assert caught.value.partial == "ab"
    assert stream.state == "cancelled"
    gate.open.set()
    assert gate.closed.wait(WAIT)


def test_cancel_closes_a_sync_generator_at_its_next_chunk() -> None:
    gate = Gate(1, rest=(2, 3))
    stream = gate.stream()
    stream.cancel()
    assert not gate.closed.is_set()
    gate.open.set()
    assert gate.closed.wait(WAIT)
    assert stream.kept == [1]  # nothing is added after the end


def test_cancel_closes_a_waiting_async_generator() -> None:
    gate = Gate(1)
    stream = gate.stream("async")
    stream.cancel()
    assert gate.closed.wait(WAIT)  # though the gate never opened


def test_cleanup_of_an_async_generator_may_await_and_is_not_interrupted_by_more_cancels() -> None:
    cleaning, go, cleaned = threading.Event(), threading.Event(), threading.Event()

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(WAIT)
        finally:
            cleaning.set()
            while not go.is_set():
                await asyncio.sleep(0.001)
            cleaned.set()

    stream = Stream(generate())
    next(iter(stream))
    stream.cancel()
    assert cleaning.wait(WAIT)
    stream.cancel()
    stream.cancel()
    go.set()
    assert cleaned.wait(WAIT)


def test_cancel_before_an_async_generator_began_never_runs_it() -> None:
    """The loop is held while the stream is made and cancelled."""
    holding, release, began = threading.Event(), threading.Event(), threading.Event()

    async def hold() -> AsyncIterator[int]:
        holding.set()
        release.wait(WAIT)
        yield 1

    async def never() -> AsyncIterator[int]:
        began.set()
        await asyncio.sleep(WAIT)
        yield 1

    holder = Stream(hold())
    assert holding.wait(WAIT)
    stream = Stream(never())
    stream.cancel()
    release.set()
    assert holder.result(WAIT) == [1]
    assert Stream(async_source(1)).result(WAIT) == [1]  # the loop has been round
    assert not began.is_set()
    assert stream.state == "cancelled"


@both_gates
def test_cancel_after_the_end_changes_nothing(kind: str) -> None:
    gate = Gate("a")
    gate.open.set()
    stream = gate.stream(kind)
    assert stream.result(WAIT) == "a"
    stream.cancel()
    assert stream.state == "done"
    assert stream.result(WAIT) == "a"


@pytest.mark.parametrize("outer_kind", ["sync", "async"])
@both_gates
def test_nested_stream_is_cancelled_with_its_maker(outer_kind: str, kind: str) -> None:
    gate = Gate("inner")
    made: list[Stream[Any]] = []
    closed = threading.Event()

    def make() -> Stream[Any]:
        made.append(Stream(gate.sync() if kind == "sync" else gate.asynchronous(), name="inner"))
        return made[0]

    def outer() -> Iterator[Any]:
        try:
            yield from make()
        finally:
            closed.set()

    async def outer_async() -> AsyncIterator[Any]:
        try:
            async for chunk in make():
                yield chunk
        finally:
            closed.set()

    stream: Stream[Any] = Stream(outer() if outer_kind == "sync" else outer_async())
    assert next(iter(stream)) == "inner"
    stream.cancel()
    made[0].wait(WAIT)
    assert made[0].state == "cancelled"
    assert closed.wait(WAIT)
    gate.open.set()
    assert gate.closed.wait(WAIT)


def test_stream_made_by_a_cancelled_generator_is_cancelled_too() -> None:
    go = threading.Event()
    gate = Gate(1)
    made: list[Stream[Any]] = []

    def outer() -> Iterator[Any]:
        yield "ready"
        assert go.wait(WAIT)
        made.append(Stream(gate.asynchronous()))
        yield from made[0]

    stream = Stream(outer())
    next(iter(stream))
    stream.cancel()

    def wait_for_producers() -> None:
        for thread in threading.enumerate():
            if thread.name == "stream stream":
                thread.join(WAIT)

    join = in_thread(wait_for_producers)
    go.set()
    join()
    assert made[0].state == "cancelled"


def test_nested_stream_outlives_a_maker_that_ends_well() -> None:
    gate = Gate(1, rest=(2,))
    made: list[Stream[Any]] = []

    def outer() -> Iterator[str]:
        made.append(Stream(gate.sync()))
        yield "made"

    assert Stream(outer()).result(WAIT) == "made"
    gate.open.set()
    assert made[0].result(WAIT) == [1, 2]


@both
def test_nested_streams_to_a_depth_of_thirty(source: Source) -> None:
    def nest(depth: int) -> Iterator[int]:
        yield from (nest_stream(depth - 1) if depth else [1, 2])

    async def nest_async(depth: int) -> AsyncIterator[int]:
        if depth:
            async for chunk in nest_stream(depth - 1):
                yield chunk
        else:
            yield 1
            yield 2

    def nest_stream(depth: int) -> Stream[int]:
        return Stream(nest(depth) if source is sync_source else nest_async(depth))

    assert nest_stream(30).result(WAIT) == [1, 2]


def test_interrupt_of_a_waiting_result_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate("a")
    stream = gate.stream()

    class Interrupted:
        def __init__(self) -> None:
            self.release = lambda: None

        def acquire(self, timeout: float | None = None) -> bool:
            if timeout is not None:
                raise KeyboardInterrupt
            return True

    with monkeypatch.context() as patch:
        patch.setattr("conduit_lab.core.streams.wakeups.threading.Lock", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.result()
    assert stream.state == "cancelled"
    gate.open.set()
    assert gate.closed.wait(WAIT)


def test_a_result_with_a_view_is_shown_below_the_chunks() -> None:
    class Verdict(Viewed):
        def _view(self) -> View:
            return View("Verdict", "<b>fine</b>")

    def judged(verdict: Verdict | str) -> Generator[str, None, Verdict | str]:
        yield "It is "
        return verdict

    stream = Stream(judged(Verdict()))
    assert isinstance(stream.result(WAIT), Verdict)
    html = stream._repr_mimebundle_()["text/html"]
    assert html.index("It is ") < html.index("Verdict") and "&lt;b&gt;fine" in html
    assert stream._repr_mimebundle_()["text/plain"].endswith("It is \nVerdict '<b>fine</b>'")
    plain = Stream(judged("good"))
    plain.wait(WAIT)
    assert "good" not in plain._repr_mimebundle_()["text/html"]
