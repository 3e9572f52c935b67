"""Streams: waits leave no waiter behind, and are refused on the package's loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from conduit_lab.core.streams.stream import Stream
from tests.core.streams.sources import WAIT, Gate, Source, async_source, both_gates, sync_source


@both_gates
def test_a_wait_that_timed_out_leaves_no_waiter(kind: str) -> None:
    gate = Gate(1)
    stream = gate.stream(kind)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            stream.result(0.001)
    assert not stream._wakeups.waiters
    gate.open.set()
    assert stream.result(WAIT) == [1]


def test_an_async_wait_that_was_cancelled_leaves_no_waiter() -> None:
    gate = Gate(1)
    stream = gate.stream()

    async def give_up() -> None:
        with anyio.move_on_after(0.001):
            await stream

    asyncio.run(give_up())
    assert not stream._wakeups.waiters
    gate.open.set()
    assert stream.result(WAIT) == [1]


@pytest.mark.parametrize("inner", [sync_source, async_source])
@pytest.mark.parametrize("wait", [lambda stream: stream.result(), list], ids=["result", "for"])
def test_blocking_inside_an_async_generator_is_refused_with_the_code_to_write(
    inner: Source, wait: Any
) -> None:
    gate = Gate()

    async def outer() -> AsyncIterator[Any]:
        made: Stream[Any] = Stream(
            gate.sync() if inner is sync_source else gate.asynchronous(), name="inner"
        )
        try:
            yield wait(made)
        finally:
            gate.open.set()

    with pytest.raises(RuntimeError, match=r"'inner' would block .* `await stream` or `async for"):
        Stream(outer()).result(WAIT)
    assert Stream(async_source(1)).result(WAIT) == [1]  # the loop lives


@pytest.mark.parametrize("inner", [sync_source, async_source])
def test_awaiting_inside_an_async_generator_works(inner: Source) -> None:
    async def outer() -> AsyncIterator[Any]:
        made: Stream[Any] = Stream(inner("a", "b"))
        yield await made
        yield made.result()  # has ended: there is nothing to wait for

    assert Stream(outer()).result(WAIT) == "abab"


def test_statistics_count_chunks_bytes_and_time() -> None:
    stream = Stream(["ab", "cde"])
    stream.wait(WAIT)
    statistics = stream.statistics
    assert (statistics.chunks, statistics.bytes) == (2, 5)
    assert statistics.first is not None
    assert 0 <= statistics.first <= statistics.seconds
    assert statistics.rate == 2 / statistics.seconds


def test_bytes_count_dropped_chunks_too() -> None:
    stream = Stream(("x" * 1000 for _ in range(100)), keep=20_000)
    stream.wait(WAIT)
    assert stream.statistics.bytes == 100_000
