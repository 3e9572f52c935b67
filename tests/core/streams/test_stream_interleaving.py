"""Many readers and producers at once, in whatever order the scheduler and hypothesis choose."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import StreamCancelled, StreamLagged
from conduit_lab.core.streams.stream import Stream

WAIT = 60.0
few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def threads_change_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def counted(total: int) -> Iterator[int]:
    yield from range(total)


async def counted_async(total: int) -> AsyncIterator[int]:
    for number in range(total):
        if number % 3 == 0:
            await asyncio.sleep(0)
        yield number


def test_thousands_of_async_readers_each_see_every_chunk() -> None:
    async def read() -> list[list[int]]:
        stream = Stream(counted_async(40))

        async def one() -> list[int]:
            return [chunk async for chunk in stream]

        return await asyncio.gather(*(one() for _ in range(2000)))

    assert asyncio.run(read()) == [list(range(40))] * 2000


def test_a_thousand_streams_each_end_with_their_own_chunks() -> None:
    streams = [
        Stream(counted(n % 7) if n % 2 else counted_async(n % 7), name=f"number {n}")
        for n in range(1000)
    ]
    assert [stream.result(WAIT) for stream in streams] == [list(range(n % 7)) for n in range(1000)]


@few
@given(
    total=st.integers(0, 300),
    readers=st.integers(1, 8),
    asynchronous=st.booleans(),
    breaks=st.lists(st.integers(0, 300), max_size=8),
)
def test_every_reader_sees_every_chunk_once_and_in_order(
    total: int, readers: int, asynchronous: bool, breaks: list[int]
) -> None:
    stream = Stream(counted_async(total) if asynchronous else counted(total))

    def read(leave: int | None) -> list[int]:
        seen = []
        for chunk in stream:
            seen.append(chunk)
            if chunk == leave:
                break
        return seen

    leaves: list[int | None] = [*breaks, *[None] * readers]
    with ThreadPoolExecutor(len(leaves)) as pool:
        results = list(pool.map(read, leaves))
    for leave, seen in zip(leaves, results, strict=True):
        assert seen == list(range(total if leave is None or leave >= total else leave + 1))
    assert stream.result(WAIT) == list(range(total))


@few
@given(
    total=st.integers(1, 400),
    keep=st.integers(1, 4000),
    readers=st.integers(1, 6),
    asynchronous=st.booleans(),
)
def test_with_a_bounded_log_read_and_missed_chunks_are_the_whole(
    total: int, keep: int, readers: int, asynchronous: bool
) -> None:
    stream = Stream(counted_async(total) if asynchronous else counted(total), keep=keep)

    def read(_: int) -> list[int]:
        reader, seen, expected = stream.reader(0), [], 0
        while True:
            try:
                chunk = next(reader)
            except StopIteration:
                break
            except StreamLagged as lag:
                assert lag.missed > 0
                assert lag.resume_at == expected + lag.missed
                expected = lag.resume_at
                continue
            assert chunk == expected
            seen.append(chunk)
            expected += 1
        assert expected == total
        return seen

    with ThreadPoolExecutor(readers) as pool:
        for seen in pool.map(read, range(readers)):
            assert seen[-1] == total - 1  # the newest chunk is never dropped


@few
@given(
    asynchronous=st.booleans(),
    cancel_at=st.integers(0, 60),
    readers=st.integers(1, 6),
    cancels=st.integers(1, 3),
)
def test_cancel_at_any_moment_ends_every_reader_with_a_beginning_of_the_chunks(
    asynchronous: bool, cancel_at: int, readers: int, cancels: int
) -> None:
    stop = threading.Event()
    closed = threading.Event()

    def endless() -> Iterator[int]:
        number = 0
        try:
            while not stop.is_set():
                yield number
                number += 1
        finally:
            closed.set()

    async def endless_async() -> AsyncIterator[int]:
        number = 0
        try:
            while not stop.is_set():
                await asyncio.sleep(0)
                yield number
                number += 1
        finally:
            closed.set()

    stream = Stream(endless_async() if asynchronous else endless(), keep=2**30)
    try:
        with ThreadPoolExecutor(readers + cancels) as pool:
            reads = [pool.submit(lambda: list(stream)) for _ in range(readers)]
            while stream.count < cancel_at:
                pass
            for _ in range(cancels):
                pool.submit(stream.cancel)
            results = [read.result(WAIT) for read in reads]
        assert all(seen == list(range(len(seen))) for seen in results)
        assert min(map(len, results)) >= cancel_at - 1
        with pytest.raises(StreamCancelled):
            stream.result(WAIT)
        if stream.count:
            assert closed.wait(WAIT)
    finally:
        stop.set()
