"""Backpressure: the holders of a producer, and the end of its wait."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import pytest
from pydantic import BaseModel

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.streams import backpressure
from conduit_lab.core.streams.backpressure import awaiting_reader
from conduit_lab.core.streams.holders import Bookmark
from conduit_lab.core.streams.merge import merge
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.stream import Stream
from tests.core.streams.sources import WAIT

KEEP = 5_000
COUNT = 200
FITS = 10  # chunks: about twice what the log keeps
FEW = 3  # chunks that the log keeps
ALL = list(range(COUNT))


def chunks(count: int = COUNT) -> Iterator[str]:
    for n in range(count):
        yield str(n).zfill(1000)


async def chunks_async(count: int = COUNT) -> AsyncIterator[str]:
    for chunk in chunks(count):
        yield chunk


kinds = pytest.mark.parametrize("make", [chunks, chunks_async], ids=["sync", "async"])
Make = Callable[[], Any]


def until(ready: Callable[[], object]) -> None:
    ends = monotonic() + WAIT
    while not ready():
        assert monotonic() < ends, "it did not happen"
        sleep(0.002)


def settled(stream: Stream[Any]) -> int:
    """Return the count of a stream once it no longer grows."""
    until(lambda: stream.count)
    before = -1
    while before != stream.count:
        before = stream.count
        sleep(0.05)
    return before


def awaited(source: Any) -> Stream[Any]:
    """Return a stream that waits for its first reader, so that none comes too late."""
    with awaiting_reader(WAIT):
        return Stream(source, keep=KEEP)


def slowly(reader: Any) -> list[int]:
    """Read in small steps, each with a pause in which a free producer would run far ahead."""
    got = []
    for chunk in reader:
        got.append(int(chunk))
        if len(got) % 20 == 0:
            sleep(0.005)
    return got


@kinds
def test_a_reader_that_holds_gets_every_chunk(make: Make) -> None:
    stream = awaited(make())
    sleep(0.05)
    assert slowly(stream.hold()) == ALL


@kinds
def test_the_producer_waits_with_a_full_log(make: Make) -> None:
    stream = awaited(make())
    reader = stream.hold()
    assert settled(stream) <= FITS
    reader.take()
    until(lambda: stream.count > reader.index)
    assert settled(stream) - reader.index <= FITS
    reader.close()
    stream.wait(WAIT)
    assert stream.count == COUNT


def test_one_holder_among_readers_is_enough() -> None:
    stream = Stream([1])
    assert not stream._pressure.held
    idle, holder = stream.reader(), stream.hold()
    assert stream._pressure.held
    holder.close()
    assert not stream._pressure.held
    idle.close()


def test_a_first_chunk_larger_than_the_log_waits_for_no_reader() -> None:
    with awaiting_reader(10 * WAIT):
        stream = Stream([b"x" * 2 * KEEP], keep=KEEP)
    until(lambda: stream.finished)  # `wait` would count as a reader


def test_an_async_reader_that_holds_gets_every_chunk() -> None:
    async def read() -> list[int]:
        stream = awaited(chunks_async())
        return [int(chunk) async for chunk in stream.hold()]

    assert asyncio.run(read()) == ALL


def test_chunks_larger_than_the_log_pass_one_by_one() -> None:
    stream = awaited(bytes([n]) * 20_000 for n in range(20))
    assert [chunk[0] for chunk in stream.hold()] == list(range(20))


def test_the_producer_waits_for_the_slowest_of_two_holders() -> None:
    stream = awaited(chunks())
    quick, slow = stream.hold(), stream.hold()
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.extend(int(chunk) for chunk in quick))
    thread.start()
    until(lambda: quick.index == stream.count >= FITS // 2)
    assert settled(stream) <= FITS
    assert slowly(slow) == ALL
    thread.join(WAIT)
    assert got == ALL


def test_a_reader_that_does_not_hold_never_blocks_beside_one_that_does() -> None:
    stream = awaited(chunks())
    idle, reader = stream.reader(0), stream.hold()
    assert slowly(reader) == ALL
    with pytest.raises(StreamLagged):
        next(idle)


@kinds
def test_cancelling_ends_a_held_producer(make: Make) -> None:
    closed = threading.Event()

    def watched() -> Iterator[str]:
        try:
            yield from chunks()
        finally:
            closed.set()

    async def watched_async() -> AsyncIterator[str]:
        try:
            for chunk in chunks():
                yield chunk
        finally:
            closed.set()

    stream = awaited(watched() if make is chunks else watched_async())
    reader = stream.hold()
    settled(stream)
    begin = monotonic()
    stream.cancel()
    assert closed.wait(WAIT)
    assert monotonic() - begin < 1
    assert reader.stream.state == "cancelled"


@kinds
def test_the_last_reader_cancels_a_held_producer_when_it_leaves(make: Make) -> None:
    stream = awaited(make())
    reader = stream.hold()
    settled(stream)
    reader.leave()
    assert stream.state == "cancelled"


@kinds
def test_a_garbage_collected_reader_does_not_hold_the_producer(make: Make) -> None:
    stream = awaited(make())
    reader = stream.hold()
    settled(stream)
    del reader
    gc.collect()
    stream.wait(WAIT)
    assert stream.count == COUNT


@kinds
def test_a_bookmark_keeps_the_log_and_holds_the_producer(make: Make) -> None:
    stream = awaited(make())
    reader = stream.hold()
    settled(stream)
    reader.take(1)
    mark = Bookmark(stream)
    reader.close()
    assert settled(stream) <= FITS
    back = stream.hold(1)
    del mark
    assert slowly(back) == ALL[1:]


def doubled(chunk: str) -> int:
    return int(chunk)


async def doubled_async(chunk: str) -> int:
    await asyncio.sleep(0)
    return int(chunk)


def nested() -> Iterator[int]:
    for chunk in Stream(chunks(), keep=KEEP):
        yield int(chunk)


async def nested_async() -> AsyncIterator[int]:
    async for chunk in Stream(chunks_async(), keep=KEEP):
        yield int(chunk)


MADE: dict[str, Callable[[], Stream[Any]]] = {
    "map": lambda: Stream(chunks(), keep=KEEP).map(doubled),
    "async map": lambda: Stream(chunks(), keep=KEEP).map(doubled_async),
    "map of a map": lambda: Stream(chunks_async(), keep=KEEP).map(str).map(doubled),
    "merge": lambda: merge([Stream(chunks(), keep=KEEP)]),
    "map of a merge": lambda: merge([Stream(chunks(), keep=KEEP)]).map(doubled),
    "inside a generator": lambda: Stream(nested()),
    "inside an async generator": lambda: Stream(nested_async()),
}


@pytest.mark.parametrize("name", MADE)
def test_a_derived_stream_passes_backpressure_on(name: str) -> None:
    with awaiting_reader(WAIT):
        stream = MADE[name]()
    stream._log._keep = KEEP
    assert slowly(stream.hold()) == ALL


def test_a_merge_gets_every_chunk_of_each() -> None:
    with awaiting_reader(WAIT):
        merged = merge([Stream(chunks(), keep=KEEP), Stream(chunks_async(), keep=KEEP)])
    merged._log._keep = KEEP
    assert sorted(slowly(merged.hold())) == sorted(ALL + ALL)


def test_a_map_without_a_holder_does_not_hold_its_source() -> None:
    begun, go = threading.Event(), threading.Event()

    def chunks_once_begun() -> Iterator[str]:
        first, *rest = chunks()
        yield first
        assert begun.wait(WAIT)  # a map that has not read the first chunk would lag
        yield from rest

    def wait(chunk: str) -> str:
        begun.set()
        assert go.wait(WAIT)
        return chunk

    stream = Stream(chunks_once_begun(), keep=KEEP)
    mapped = stream.map(wait)
    stream.wait(WAIT)
    assert stream.count == COUNT
    go.set()
    mapped.cancel()


def test_a_map_releases_its_source_when_its_holder_leaves() -> None:
    go = threading.Event()
    stream = awaited(chunks())
    with awaiting_reader(WAIT):
        mapped = stream.map(lambda chunk: go.wait(WAIT))
    holder, other = mapped.hold(), mapped.reader()
    assert settled(stream) <= FITS
    holder.leave()
    stream.wait(WAIT)
    go.set()
    other.leave()


@kinds
def test_a_stream_that_awaits_a_reader_waits_for_its_first(make: Make) -> None:
    stream = awaited(make())
    assert settled(stream) <= FITS
    stream.reader().close()
    stream.wait(WAIT)
    assert stream.count == COUNT


@kinds
def test_a_stream_that_awaits_a_reader_runs_to_an_awaited_end(make: Make) -> None:
    with awaiting_reader(WAIT):
        first, second = Stream(make(), keep=KEEP), Stream(make(), keep=KEEP)
    first.wait(WAIT / 2)

    async def end() -> None:
        with pytest.raises(StreamLagged):
            await second

    asyncio.run(end())
    assert (first.count, second.count) == (COUNT, COUNT)


@kinds
def test_a_stream_that_awaits_a_reader_continues_without_one(make: Make) -> None:
    with awaiting_reader(0.3):
        stream = Stream(make(), keep=KEEP)
    until(lambda: stream.finished)
    with pytest.raises(StreamLagged):
        next(stream.reader())


def test_a_pushed_stream_is_not_held_and_a_loss_is_raised() -> None:
    with awaiting_reader(WAIT):
        stream: PushedStream[str] = PushedStream(keep=KEEP)
    reader = stream.hold()
    for chunk in chunks():
        stream.append(chunk)
    stream.finish()
    with pytest.raises(StreamLagged) as caught:
        next(reader)
    assert [int(chunk) for chunk in reader] == ALL[caught.value.resume_at :]


def test_the_first_reader_begins_at_chunk_0_and_later_ones_at_the_oldest_kept() -> None:
    stream = Stream(chunks(), keep=KEEP)
    stream.wait(WAIT)
    with pytest.raises(StreamLagged) as caught:
        next(stream.reader())
    assert caught.value.missed == COUNT - len(stream.kept)
    assert list(stream) == stream.kept


@dataclass
class Line:
    texts: list[str]


class Page(BaseModel):
    lines: list[str]


@pytest.mark.parametrize(
    "chunk",
    [
        {"a": [{"b": ["x" * 1000]}]},
        [["x" * 1000]],
        Line(["x" * 1000]),
        Page(lines=["x" * 1000]),
        {"p": Line(["x" * 1000])},
    ],
    ids=["dict", "list", "dataclass", "pydantic", "mixed"],
)
def test_the_log_is_bounded_by_nested_content(chunk: Any) -> None:
    stream = Stream([chunk] * 100, keep=20_000)
    stream.wait(WAIT)
    assert 5 <= len(stream.kept) <= 20


def test_a_chunk_that_is_changed_later_does_not_loosen_the_bound() -> None:
    def growing() -> Iterator[list[int]]:
        chunk: list[int] = []
        for n in range(500):
            chunk.append(n)
            yield chunk

    stream = Stream(growing(), keep=20_000)
    stream.wait(WAIT)
    kept = len(stream.kept)
    assert kept < 40
    assert stream._log._held <= 20_000


def test_the_last_reader_cancels_before_it_releases_the_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states: list[str] = []
    close = Reader.close

    def closing(reader: Reader[Any]) -> None:
        if reader.stream is stream:  # the collector may close those of other tests now
            states.append(reader.stream.state)
        close(reader)

    stream = awaited(chunks())
    first, last = stream.hold(), stream.hold()
    with monkeypatch.context() as patched:
        patched.setattr(Reader, "close", closing)
        first.leave()
        last.leave()
    assert states == ["running", "cancelled"]


def test_a_generator_that_reads_its_own_stream_does_not_hold_itself() -> None:
    made: list[Stream[str]] = []
    ready = threading.Event()

    def own() -> Iterator[str]:
        assert ready.wait(WAIT)
        reader = made[0].reader()
        yield from chunks()
        reader.close()

    made.append(Stream(own(), keep=KEEP))
    ready.set()
    made[0].wait(WAIT)
    assert (made[0].state, made[0].count) == ("done", COUNT)


@kinds
def test_cancelling_wakes_a_held_producer(make: Make) -> None:
    stream = awaited(make())
    reader = stream.hold()
    until(lambda: stream._pressure.room is not None and stream._pressure.room.waiters)
    stream.cancel()
    assert stream._pressure.room is not None
    assert not stream._pressure.room.waiters
    reader.close()


@kinds
def test_the_end_of_the_wait_for_a_first_reader_wakes_the_producer(make: Make) -> None:
    stream = awaited(make())
    until(lambda: stream._pressure.room is not None and stream._pressure.room.waiters)
    stream._pressure.claim()
    assert stream._pressure.room is not None
    assert not stream._pressure.room.waiters
    stream.wait(WAIT)


def paused(stream: Stream[Any]) -> None:
    """Wait until the producer waits for its awaited reader."""
    until(lambda: stream._pressure.room is not None and stream._pressure.room.waiters)


def test_a_producer_begins_with_its_awaited_reader_and_pauses_after_its_first_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backpressure, "OPENING_SECONDS", 2 * WAIT)
    stream = awaited(chunks(FEW))
    paused(stream)
    assert stream.count == 0
    reader = stream.hold()
    until(lambda: stream.count)
    paused(stream)
    assert stream.count == 1
    assert len(reader.take(1)) == 1
    stream.wait(WAIT)
    assert stream.count == FEW


LEAVING: dict[str, Callable[[Stream[Any]], object]] = {
    "a reader that does not hold": lambda stream: stream.reader(),
    "a reader that closes": lambda stream: stream.hold().close(),
    "an awaited end": lambda stream: stream.wait(WAIT),
    "a cancel": lambda stream: stream.cancel(),
}


@pytest.mark.parametrize("act", LEAVING.values(), ids=LEAVING)
def test_a_producer_does_not_pause_for_a_reader_that_is_not_held(
    act: Callable[[Stream[Any]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backpressure, "OPENING_SECONDS", 2 * WAIT)
    stream = awaited(chunks(FEW))
    paused(stream)
    kept = act(stream)
    stream.wait(WAIT)
    del kept
    assert stream.count == (0 if stream.cancelled else FEW)


def test_a_producer_without_its_awaited_reader_begins_after_a_moment() -> None:
    stream = awaited(chunks(FEW))
    until(lambda: stream.finished)
    assert stream.count == FEW


def test_a_producer_that_awaits_no_reader_does_not_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backpressure, "OPENING_SECONDS", 2 * WAIT)
    stream = Stream(chunks(FEW), keep=KEEP)
    until(lambda: stream.finished)
    assert stream.count == FEW
