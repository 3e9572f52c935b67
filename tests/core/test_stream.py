"""Streams: producing, reading, ending. How long anything takes is never asserted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from conduit_lab.core import paths
from conduit_lab.core.errors import StreamCancelled, StreamLagged
from conduit_lab.core.stream import Stream, chunk_text

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
    """A generator that makes `chunks`, then waits for `open`, then makes `rest`; `closed` is set in its finally."""

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
        stream: Stream[Any] = Stream(self.sync() if kind == "sync" else self.asynchronous(), **options)
        if self.chunks:
            reader = stream.reader(len(self.chunks) - 1)
            next(reader)
            reader.close()
        return stream


both_gates = pytest.mark.parametrize("kind", ["sync", "async"])


def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Start `function` on a thread; the returned call joins it and gives its result, or raises its error."""
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


# Reading


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


def test_reader_starts_where_it_is_told() -> None:
    stream = Stream(range(5))
    stream.wait(WAIT)
    assert list(stream.reader(3)) == [3, 4]
    assert list(stream.reader(5)) == []


def test_take_gives_what_is_there_without_waiting() -> None:
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


def test_cancelled_async_reader_leaves_the_stream_running() -> None:
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


def test_wake_up_of_a_reader_whose_loop_is_gone_harms_nobody() -> None:
    gate = Gate(1, rest=(2,))
    stream = gate.stream()

    async def leave() -> None:
        task = asyncio.ensure_future(stream.reader(1).wait())
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    gate.open.set()
    assert stream.result(WAIT) == [1, 2]


# The result


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
def test_result_times_out_and_the_stream_goes_on(kind: str) -> None:
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


# Errors


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
    stream: Stream[Any] = Stream(5)  # type: ignore[arg-type]
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


# Cancelling


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
        def __init__(self, value: int) -> None:
            self.release = lambda: None

        def acquire(self, timeout: float) -> bool:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("conduit_lab.core.stream.threading.Semaphore", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.result()
    assert stream.state == "cancelled"
    gate.open.set()
    assert gate.closed.wait(WAIT)


# The bounded log


def test_unread_stream_of_any_length_ends_and_keeps_a_bounded_log() -> None:
    stream = Stream(("x" * 1000 for _ in range(2000)), keep=50_000)
    stream.wait(WAIT)
    assert stream.count == 2000
    assert 1 <= len(stream.kept) <= 50_000 // 1000


def test_reader_that_fell_behind_is_told_once_and_goes_on() -> None:
    gate = Gate(*(str(n).zfill(1000) for n in range(5)), rest=tuple(str(n).zfill(1000) for n in range(5, 100)))
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


def test_async_reader_that_fell_behind_is_told_once_and_goes_on() -> None:
    stream = Stream((str(n).zfill(1000) for n in range(100)), keep=20_000)
    stream.wait(WAIT)

    async def read() -> list[int]:
        reader = stream.reader(0)
        with pytest.raises(StreamLagged):
            await anext(reader)
        return [int(chunk) async for chunk in reader]

    rest = asyncio.run(read())
    assert rest == list(range(100 - len(stream.kept), 100))


def test_take_of_a_reader_that_fell_behind_is_told_once() -> None:
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
    "chunk", [b"x" * 5000, {"chunk": "x" * 5000}, ["x" * 5000], memoryview(b"x" * 5000)], ids=lambda c: type(c).__name__
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


# Around it


def test_statistics_tell_the_course() -> None:
    gate = Gate("a", "b")
    stream = gate.stream()
    assert (stream.state, stream.count, stream.ended, stream.finished) == ("running", 2, None, False)
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
        raise Broken("<b>boom</b>")

    stream = Stream(fail())
    stream.wait(WAIT)
    shown = stream._repr_mimebundle_()["text/html"]
    assert "Broken: &lt;b&gt;boom" in shown
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
