"""Streams: reading and results. How long anything takes is never asserted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

from conduit_lab.core.streams.stream import Stream
from tests.core.streams.sources import WAIT, Gate, Source, both, both_gates, in_thread, sync_source


@both
def test_for_loop_gives_every_chunk_in_order(source: Source) -> None:
    assert list(Stream(source(1, 2, 3))) == [1, 2, 3]


def test_any_iterable_is_a_source() -> None:
    assert list(Stream(["a", "b"])) == ["a", "b"]
    assert list(Stream({"key": 1})) == ["key"]


@both
def test_async_for_gives_every_chunk_in_order(source: Source) -> None:
    async def read() -> list[int]:
        return [chunk async for chunk in Stream(source(1, 2, 3))]

    assert asyncio.run(read()) == [1, 2, 3]


@both
def test_await_gives_the_result(source: Source) -> None:
    async def read() -> Any:
        return await Stream(source("a", "b"))

    assert asyncio.run(read()) == "ab"


@both
def test_starts_without_a_reader(source: Source) -> None:
    ran = threading.Event()

    def watched() -> Iterator[int]:
        ran.set()
        yield 1

    async def watched_async() -> AsyncIterator[int]:
        ran.set()
        yield 1

    stream: Stream[int] = Stream(watched() if source is sync_source else watched_async())
    assert ran.wait(WAIT)
    stream.wait(WAIT)
    assert stream.readers == 0


@both
def test_each_reader_sees_every_chunk(source: Source) -> None:
    stream = Stream(source(*range(50)))
    joins = [in_thread(lambda: list(stream)) for _ in range(4)]
    assert [join() for join in joins] == [list(range(50))] * 4


@both_gates
def test_late_reader_starts_at_the_oldest_kept_chunk(kind: str) -> None:
    gate = Gate("a", "b", rest=("c",))
    stream = gate.stream(kind)
    late = iter(stream)
    assert [next(late), next(late)] == ["a", "b"]
    gate.open.set()
    assert list(late) == ["c"]
    assert list(stream) == ["a", "b", "c"]  # even after the end


def test_reader_starts_at_its_start() -> None:
    stream = Stream(range(5))
    stream.wait(WAIT)
    assert list(stream.reader(3)) == [3, 4]
    assert list(stream.reader(5)) == []


def test_take_returns_the_available_chunks_without_waiting() -> None:
    gate = Gate(1, 2, rest=(3,))
    stream = gate.stream()
    reader = stream.reader()
    assert reader.ready()
    assert reader.take() == [1, 2]
    assert not reader.ready()
    assert reader.take() == []
    gate.open.set()
    stream.wait(WAIT)
    assert reader.ready()
    assert reader.take() == [3]


def test_sync_and_async_readers_share_a_stream() -> None:
    gate = Gate(1, rest=(2, 3))
    stream = gate.stream()
    join = in_thread(lambda: list(stream))

    async def read() -> list[int]:
        seen = []
        async for chunk in stream:
            seen.append(chunk)
            gate.open.set()
        return seen

    assert asyncio.run(read()) == [1, 2, 3]
    assert join() == [1, 2, 3]


@both
def test_empty_stream_ends_at_once(source: Source) -> None:
    stream = Stream(source())
    assert list(stream) == []
    assert stream.result(WAIT) == []
    assert (stream.state, stream.count, stream.first, stream.text) == ("done", 0, None, "")


def test_reader_that_has_ended_stays_ended() -> None:
    reader = iter(Stream([1]))
    assert list(reader) == [1]
    assert next(reader, None) is None


def test_readers_are_counted() -> None:
    gate = Gate(1, rest=(2,))
    stream = gate.stream()
    first, second = iter(stream), iter(stream)
    next(first)
    assert stream.readers == 2
    first.close()
    first.close()
    assert stream.readers == 1
    del second
    assert stream.readers == 0
    for _ in stream:
        break
    assert stream.readers == 0
    gate.open.set()
    assert list(stream) == [1, 2]
    assert stream.readers == 0


def test_cancelled_async_reader_does_not_cancel_the_stream() -> None:
    gate = Gate(1, rest=(2,))
    stream = gate.stream()

    async def read() -> None:
        reader = stream.reader(1)
        with anyio.move_on_after(0.01) as scope:
            await anext(reader)
        assert scope.cancelled_caught

    asyncio.run(read())
    assert stream.state == "running"
    gate.open.set()
    assert list(stream) == [1, 2]


def test_wakeup_of_a_reader_whose_loop_has_ended_is_ignored() -> None:
    gate = Gate(1, rest=(2,))
    stream = gate.stream()

    async def leave() -> None:
        task = asyncio.ensure_future(stream.reader(1).wait())
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    gate.open.set()
    assert stream.result(WAIT) == [1, 2]


@both
def test_result_of_strings_is_the_whole_text(source: Source) -> None:
    assert Stream(source("Hel", "lo")).result(WAIT) == "Hello"


@both
def test_result_of_other_chunks_is_their_list(source: Source) -> None:
    assert Stream(source("a", 1)).result(WAIT) == ["a", 1]


def test_result_is_the_generators_return_value() -> None:
    def generate() -> Generator[str, None, dict[str, int]]:
        yield "a"
        return {"tokens": 1}

    assert Stream(generate()).result(WAIT) == {"tokens": 1}


def test_return_value_that_is_false_is_still_the_result() -> None:
    def generate() -> Generator[str, None, int]:
        yield "a"
        return 0

    assert Stream(generate()).result(WAIT) == 0


@both_gates
def test_result_times_out_and_the_stream_continues(kind: str) -> None:
    gate = Gate("a", rest=("b",))
    stream = gate.stream(kind, name="slow one")
    with pytest.raises(TimeoutError, match=r"'slow one' is still running after 0\.01 s"):
        stream.result(0.01)
    assert stream.state == "running"
    gate.open.set()
    assert stream.result(WAIT) == "ab"


@both_gates
def test_timeout_of_zero_does_not_wait(kind: str) -> None:
    gate = Gate(1)
    stream = gate.stream(kind)
    with pytest.raises(TimeoutError):
        stream.result(0)
    gate.open.set()
    assert stream.result(WAIT) == [1]
    assert stream.result(0) == [1]


@both_gates
def test_wait_returns_at_any_end(kind: str) -> None:
    gate = Gate(1)
    stream = gate.stream(kind)
    stream.cancel()
    stream.wait(WAIT)
    gate.open.set()
    assert stream.state == "cancelled"
