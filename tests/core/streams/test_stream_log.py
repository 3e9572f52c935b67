"""Streams: the bounded log, what a person sees, and loops and threads around it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from conduit_lab.core import paths
from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.streams.log import Log
from conduit_lab.core.streams.stream import Stream, chunk_text
from conduit_lab.core.weight import weight
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


def test_unread_stream_of_any_length_ends_and_keeps_a_bounded_log() -> None:
    stream = Stream(("x" * 1000 for _ in range(2000)), keep=50_000)
    stream.wait(WAIT)
    assert stream.count == 2000
    assert 1 <= len(stream.kept) <= 50_000 // 1000


def test_reader_that_fell_behind_gets_one_error_and_continues() -> None:
    gate = Gate(
        *(str(n).zfill(1000) for n in range(5)),
        rest=tuple(str(n).zfill(1000) for n in range(5, 100)),
    )
    stream = gate.stream(keep=20_000, name="quick")
    reader = iter(stream)
    assert int(next(reader)) == 0
    gate.open.set()
    stream.wait(WAIT)
    with pytest.raises(StreamLagged, match="'quick' has dropped") as caught:
        next(reader)
    assert caught.value.missed == caught.value.resume_at - 1
    rest = [int(chunk) for chunk in reader]
    assert rest == list(range(caught.value.resume_at, 100))


def test_async_reader_that_fell_behind_gets_one_error_and_continues() -> None:
    stream = Stream((str(n).zfill(1000) for n in range(100)), keep=20_000)
    stream.wait(WAIT)

    async def read() -> list[int]:
        reader = stream.reader(0)
        with pytest.raises(StreamLagged):
            await anext(reader)
        return [int(chunk) async for chunk in reader]

    rest = asyncio.run(read())
    assert rest == list(range(100 - len(stream.kept), 100))


def test_take_of_a_reader_that_fell_behind_raises_once() -> None:
    stream = Stream((str(n).zfill(1000) for n in range(100)), keep=20_000)
    stream.wait(WAIT)
    reader = stream.reader(7)
    with pytest.raises(StreamLagged) as caught:
        reader.take()
    assert caught.value.missed == caught.value.resume_at - 7
    assert reader.take() == stream.kept


def test_result_of_a_stream_that_dropped_chunks_is_refused() -> None:
    stream = Stream(("x" * 1000 for _ in range(100)), keep=20_000)
    with pytest.raises(StreamLagged):
        stream.result(WAIT)


def test_return_value_needs_no_log() -> None:
    def generate() -> Generator[str, None, str]:
        for _ in range(100):
            yield "x" * 1000
        return "fine"

    assert Stream(generate(), keep=20_000).result(WAIT) == "fine"


def test_chunk_larger_than_the_log_is_kept_as_the_newest() -> None:
    stream = Stream(["a" * 100, "b" * 10_000, "c" * 10_000], keep=1000)
    stream.wait(WAIT)
    assert stream.kept == ["c" * 10_000]


@pytest.mark.parametrize(
    "chunk",
    [b"x" * 5000, {"chunk": "x" * 5000}, ["x" * 5000], memoryview(b"x" * 5000)],
    ids=lambda c: type(c).__name__,
)
def test_weight_of_other_chunks_counts_too(chunk: Any) -> None:
    stream = Stream([chunk] * 50, keep=50_000)
    stream.wait(WAIT)
    assert 1 <= len(stream.kept) <= 11


def test_slow_reader_does_not_hold_the_producer_up() -> None:
    gate = Gate(0, rest=tuple(range(1, 1000)))
    stream = gate.stream()
    reader = iter(stream)
    assert next(reader) == 0
    gate.open.set()
    stream.wait(WAIT)  # the reader has not come back
    assert stream.count == 1000
    assert list(reader) == list(range(1, 1000))


def test_attributes_report_the_progress() -> None:
    gate = Gate("a", "b")
    stream = gate.stream()
    assert (stream.state, stream.count, stream.ended, stream.finished) == (
        "running",
        2,
        None,
        False,
    )
    assert stream.first is not None
    assert stream.started <= stream.first
    gate.open.set()
    stream.wait(WAIT)
    assert stream.ended is not None
    assert stream.first <= stream.ended
    assert stream.finished
    assert stream.elapsed == stream.ended - stream.started == stream.elapsed


def test_facts_name_state_count_and_time() -> None:
    gate = Gate("a", "b")
    stream = gate.stream()
    assert stream.facts[:2] == ["● running", "2 chunks"]
    gate.open.set()
    stream.wait(WAIT)
    assert stream.facts[0] == "✓ done"
    assert stream.facts[2].startswith("first after ")


def test_repr_is_static_and_escaped() -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    stream = Stream([evil], name=evil)
    stream.wait(WAIT)
    bundle = stream._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle == stream._repr_mimebundle_()
    assert "<script" not in bundle["text/html"]
    assert "<img" not in bundle["text/html"]
    assert evil in bundle["text/plain"]


def test_repr_of_a_failed_stream_shows_the_escaped_error() -> None:
    def fail() -> Iterator[str]:
        yield "before "
        raise ValueError("<b>boom</b>")

    stream = Stream(fail())
    stream.wait(WAIT)
    shown = stream._repr_mimebundle_()["text/html"]
    assert "ValueError: &lt;b&gt;boom" in shown
    assert "before" in shown
    assert "✕ failed" in repr(stream)


def test_text_joins_the_chunks_as_a_person_reads_them() -> None:
    stream: Stream[Any] = Stream(["a", {"chunk": "b", "complete": False}, 3])
    stream.wait(WAIT)
    assert stream.text == "ab3\n"
    assert chunk_text({"chunk": 5}) == "{'chunk': 5}\n"


@both
def test_result_from_inside_a_running_event_loop(source: Source) -> None:
    """A notebook cell runs inside the kernel's loop."""

    async def cell() -> Any:
        return Stream(source("a", "b")).result(WAIT), list(Stream(source(1)))

    assert asyncio.run(cell()) == ("ab", [1])


@both
def test_made_on_one_thread_and_read_on_another(source: Source) -> None:
    stream = in_thread(lambda: Stream(source(1, 2)))()
    assert list(stream) == [1, 2]


def test_stream_of_an_async_source_outlives_the_loop_of_its_maker() -> None:
    gate = Gate(1, rest=(2,))

    async def make() -> Stream[Any]:
        return Stream(gate.asynchronous())

    stream = asyncio.run(make())
    gate.open.set()
    assert stream.result(WAIT) == [1, 2]


@both_gates
def test_generator_sees_the_context_of_its_maker(tmp_path: Path, kind: str) -> None:
    def generate() -> Iterator[Path]:
        yield paths.current_root()

    async def generate_async() -> AsyncIterator[Path]:
        await asyncio.sleep(0)
        yield paths.current_root()

    with paths.use_root(tmp_path):
        stream: Stream[Path] = Stream(generate() if kind == "sync" else generate_async())
    assert stream.result(WAIT) == [tmp_path]
    assert paths.current_root() != tmp_path


def test_maker_is_not_held_up_by_a_generator_that_blocks_the_loop() -> None:
    holding, release = threading.Event(), threading.Event()

    async def hold() -> AsyncIterator[int]:
        holding.set()
        release.wait(WAIT)
        yield 1

    first = Stream(hold())
    assert holding.wait(WAIT)
    second = Stream(async_source(2))  # returns though the loop is held
    assert second.state == "pending"
    release.set()
    assert (first.result(WAIT), second.result(WAIT)) == ([1], [2])


def test_stream_in_an_anyio_worker_thread() -> None:
    async def read() -> Any:
        return await anyio.to_thread.run_sync(lambda: Stream(sync_source(1)).result(WAIT))

    assert asyncio.run(read()) == [1]


@pytest.mark.parametrize(
    "chunk",
    [
        {"chunk": 1, "complete": False},
        {"chunk": "é" * 500, "score": 0.5, "next": None},
        {"chunk": 10**2000},
        {str(n): "x" * 100 for n in range(64)},
        {str(n): "x" * 100 for n in range(65)},
        10**2000,
        True,
    ],
    ids=["flags", "text", "large integer", "64 items", "65 items", "integer", "bool"],
)
def test_a_plain_chunk_weighs_what_weight_says(chunk: Any) -> None:
    stream = Stream([chunk] * 10)
    stream.wait(WAIT)
    # without the garbage collector's header and the small constants of a dict
    assert stream.statistics.bytes == pytest.approx(10 * weight(chunk), rel=0.2)


def test_texts_among_other_chunks_are_dropped_with_their_own_weights() -> None:
    chunks = [{"n": n} if n % 3 else str(n) * 400 for n in range(300)]
    stream: Stream[Any] = Stream(chunks, keep=20_000)
    stream.wait(WAIT)
    kept = stream.kept
    assert kept == chunks[-len(kept) :]
    held = sum(64 + (len(c) if isinstance(c, str) else c.__sizeof__() + 28) for c in kept)
    assert stream._log._held == held


def test_a_trim_drops_the_oldest_quarter_and_a_trail_spans_half() -> None:
    log: Log[str] = Log(10_000)
    while not log.append("x" * 36):  # 100 bytes each
        pass
    assert log.count == 101
    assert (log.half_from(0), log.half_from(80)) == (50, 101)
    log.drop(log.surplus)
    assert (log.window[0], len(log.window[1])) == (26, 75)
