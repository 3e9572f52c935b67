"""Streams made of streams: map and merge."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from conduit_lab.core.errors import StreamCancelled, StreamLagged
from conduit_lab.core.streams.merge import merge
from conduit_lab.core.streams.stream import Stream
from tests.core.streams.sources import WAIT, Gate, Source, both, both_gates


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


functions = pytest.mark.parametrize(
    "function", [lambda number: 2 * number, double], ids=["sync", "async"]
)


@both
@functions
def test_map_gives_the_function_of_each_chunk(source: Source, function: Any) -> None:
    stream = Stream(source(1, 2, 3), name="numbers")
    mapped = stream.map(function)
    assert mapped.result(WAIT) == [2, 4, 6]
    assert mapped.name == "numbers"
    assert stream.result(WAIT) == [1, 2, 3]


def test_map_gives_each_chunk_as_it_comes() -> None:
    gate = Gate(1, rest=(2,))
    mapped = iter(gate.stream().map(str, name="text"))
    assert next(mapped) == "1"
    gate.open.set()
    assert list(mapped) == ["2"]
    assert mapped.stream.name == "text"


@both_gates
@functions
def test_map_that_is_cancelled_cancels_its_source(kind: str, function: Any) -> None:
    gate = Gate(1)
    stream = gate.stream(kind)
    mapped = stream.map(function)
    assert next(iter(mapped)) == 2
    mapped.cancel()
    assert stream.state == "cancelled"
    gate.open.set()
    assert gate.closed.wait(WAIT)


def test_map_that_is_cancelled_spares_a_source_with_another_reader() -> None:
    gate = Gate(1, rest=(2,))
    stream = gate.stream()
    reader = iter(stream)
    stream.map(str).cancel()
    assert stream.state == "running"
    gate.open.set()
    assert list(reader) == [1, 2]


@functions
def test_map_of_a_cancelled_stream_is_cancelled(function: Any) -> None:
    gate = Gate(1)
    stream = gate.stream()
    mapped = stream.map(function)
    stream.cancel()
    with pytest.raises(StreamCancelled):
        mapped.result(WAIT)
    assert mapped.state == "cancelled"
    gate.open.set()


@functions
def test_error_of_the_source_arrives_at_readers_of_the_map(function: Any) -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("of glass")

    mapped = iter(Stream(fail()).map(function))
    assert next(mapped) == 2
    with pytest.raises(ValueError, match="of glass"):
        next(mapped)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_error_of_the_function_fails_the_map_and_cancels_the_source(asynchronous: bool) -> None:
    def divide(number: int) -> float:
        return 1 / number

    async def divide_async(number: int) -> float:
        return 1 / number

    gate = Gate(0)
    stream = gate.stream()
    with pytest.raises(ZeroDivisionError):
        stream.map(divide_async if asynchronous else divide).result(WAIT)
    stream.wait(WAIT)
    assert stream.state == "cancelled"
    gate.open.set()


def test_map_that_is_too_slow_fails_with_the_lag() -> None:
    go = threading.Event()

    def wait(chunk: str) -> int:
        assert go.wait(WAIT)
        return int(chunk)

    stream = Stream((str(n).zfill(1000) for n in range(100)), keep=20_000)
    mapped = stream.map(wait)
    stream.wait(WAIT)
    go.set()
    try:
        assert mapped.result(WAIT) == list(
            range(100 - len(stream.kept), 100)
        )  # it began after the last trim
    except StreamLagged as lag:
        assert lag.missed > 0
        assert mapped.state == "failed"


def test_merge_gives_every_chunk_of_each_in_its_order() -> None:
    streams = [Stream(range(start, start + 50)) for start in (0, 100, 200)]
    merged = merge(streams).result(WAIT)
    assert isinstance(merged, list)
    assert sorted(merged) == [n for start in (0, 100, 200) for n in range(start, start + 50)]
    for start in (0, 100, 200):
        assert [n for n in merged if start <= n < start + 50] == list(range(start, start + 50))


@both_gates
def test_merge_gives_chunks_in_the_order_in_which_they_come(kind: str) -> None:
    gates = [Gate(n, rest=(10 + n,)) for n in range(3)]
    merged = iter(merge([gate.stream(kind) for gate in gates], name="all"))
    assert [next(merged) for _ in gates] == [0, 1, 2]
    for n in (2, 0, 1):
        gates[n].open.set()
        assert next(merged) == 10 + n
    assert list(merged) == []
    assert merged.stream.name == "all"


def test_merge_of_nothing_is_empty() -> None:
    assert merge([]).result(WAIT) == []


def test_merge_fails_with_the_first_error_and_cancels_the_rest() -> None:
    def fail() -> Iterator[int]:
        raise ValueError("of glass")
        yield 1

    gate = Gate(1)
    other = gate.stream()
    merged = merge([other, Stream(fail())])
    with pytest.raises(ValueError, match="of glass"):
        merged.result(WAIT)
    other.wait(WAIT)
    assert other.state == "cancelled"
    gate.open.set()


def test_merge_that_is_cancelled_cancels_its_sources() -> None:
    gates = [Gate(1), Gate(2)]
    streams = [gate.stream() for gate in gates]
    merge(streams).cancel()
    assert [stream.state for stream in streams] == ["cancelled"] * 2
    for gate in gates:
        gate.open.set()


def test_merge_ends_cancelled_where_one_is_cancelled() -> None:
    gates = [Gate(1), Gate(2)]
    streams = [gate.stream() for gate in gates]
    merged = merge(streams)
    streams[0].cancel()
    with pytest.raises(StreamCancelled):
        merged.result(WAIT)
    for gate in gates:
        gate.open.set()
