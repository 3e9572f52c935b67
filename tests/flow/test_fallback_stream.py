"""The stream of a Fallback: the first stage whose stream starts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from conduit_lab.core.errors import CompositionError, DeadlineExceeded, InputError, StreamCancelled
from conduit_lab.core.stage import Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.flow.fallback import Fallback
from tests.flow.test_deadline import until

SECONDS = 20.0
SOON = 0.2


class Streaming(Stage):
    """A stage that streams what `make(value)` yields."""

    def __init__(self, name: str, make: Callable[[Any], Any], **options: Any) -> None:
        self.name = name
        self.make = make
        self.options = options
        self.asked = 0
        self.streams: list[Stream[Any, Any]] = []

    def run(self, value: Any) -> Any:
        return self.stream(value).result()

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        self.asked += 1
        self.streams.append(Stream(self.make(value), name=self.name, **self.options))
        return self.streams[-1]


def letters(value: str) -> Iterator[str]:
    yield from value


def fail_at_once(value: Any) -> Iterator[Any]:
    raise ConnectionError("503 from the shop")
    yield


def fail_later(value: Any) -> Iterator[Any]:
    yield "first"
    raise ConnectionError("cut")


good = Streaming("good", letters)
broken = Streaming("broken", fail_at_once)


def test_the_first_stage_streams() -> None:
    with recorder.record("call") as recorded:
        stream = Fallback(good, broken, name="text").stream("abc")
    assert (list(stream), stream.result(), stream.name) == (["a", "b", "c"], "abc", "text")
    assert not recorded.record.fallbacks


def test_the_next_stage_streams_where_the_first_has_no_chunk(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", "conduit_lab"), recorder.record("call") as recorded:
        stream = Fallback(broken, broken, good, name="text").stream("abc")
        assert list(stream) == ["a", "b", "c"]
    assert caplog.messages == [
        "text: broken failed, trying the next: 503 from the shop",
        "text: broken failed, trying the next: 503 from the shop",
        "text: good answered",
    ]
    assert list(recorded.record.fallbacks) == ["good"]
    assert recorded["text"].attributes == {"fallback": "good"}
    until(lambda: recorded["text"].ended)


def test_a_stage_whose_stream_cannot_begin_is_followed_by_the_next() -> None:
    def no_stream(value: Any) -> Any:
        raise OSError("no such model")

    with recorder.record("call") as recorded:
        stream = Fallback(Streaming("none", no_stream), good).stream("ab")
    assert stream.result() == "ab"
    assert list(recorded.record.fallbacks) == ["good"]
    with pytest.raises(OSError, match="no such model"):
        Fallback(Streaming("none", no_stream)).stream("ab")


def test_an_empty_stream_is_an_answer() -> None:
    assert list(Fallback(Streaming("none", letters), good).stream("")) == []


def test_an_error_after_the_first_chunk_is_the_reader_s() -> None:
    stream = Fallback(Streaming("cut", fail_later), good).stream("ab")
    reader = iter(stream)
    assert next(reader) == "first"
    with pytest.raises(ConnectionError, match="cut"):
        next(reader)
    assert stream.state == "failed"


def test_when_all_fail_the_last_error_has_the_others_as_notes() -> None:
    stream = Fallback(Streaming("first", fail_at_once), broken, name="text").stream("ab")
    with pytest.raises(ConnectionError) as raised:
        stream.result()
    assert raised.value.__notes__ == [
        "text: first failed before: ConnectionError: 503 from the shop"
    ]


def test_bad_input_is_raised_at_once_where_the_stage_finds_it_at_once() -> None:
    def refuse(value: Any) -> Any:
        raise InputError("too long")

    with pytest.raises(InputError, match="too long"):
        Fallback(Streaming("strict", refuse), good).stream("ab")

    def refuse_later(value: Any) -> Iterator[Any]:
        raise InputError("too long")
        yield

    with pytest.raises(InputError, match="too long"):
        Fallback(Streaming("strict", refuse_later), good).stream("ab").result()


def test_the_result_and_the_chunks_are_those_of_the_stage() -> None:
    chunks = [object(), object()]

    class Answer:
        pass

    answer = Answer()

    def make(value: Any) -> Generator[Any, None, Any]:
        yield from chunks
        return answer

    stream = Fallback(broken, Streaming("answer", make)).stream(1)
    read = list(stream)
    assert all(got is made for got, made in zip(read, chunks, strict=True))
    assert stream.result() is answer


@pytest.mark.parametrize("reads", [0, 1])
def test_cancelling_it_cancels_the_stage_s_stream(
    reads: int, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def make(value: Any) -> Iterator[int]:
        if reads == 0:
            gate.wait(SECONDS)
        while not gate.is_set():
            yield 1
            gate.wait(0.001)

    other = Streaming("other", letters)
    stage = Streaming("slow", make)
    stream = Fallback(stage, other).stream("ab")
    reader = iter(stream)
    for _ in range(reads):
        next(reader)
    stream.cancel()
    assert stage.streams[0].state == "cancelled"
    gate.set()
    with pytest.raises(StreamCancelled):
        stream.result()
    until(lambda: not [t for t in threading.enumerate() if t.name == "stream fallback"])
    assert (other.streams, caplog.messages) == ([], [])


def test_cancelling_it_reaches_the_stream_of_a_later_stage(gate: threading.Event) -> None:
    def make(value: Any) -> Iterator[int]:
        while not gate.is_set():
            yield 1
            gate.wait(0.001)

    stage = Streaming("slow", make)
    stream = Fallback(broken, stage).stream(1)
    assert next(iter(stream)) == 1
    stream.cancel()
    until(lambda: stage.streams[0].state == "cancelled")


def test_a_stage_s_stream_that_is_cancelled_elsewhere_ends_it_as_cancelled(
    gate: threading.Event,
) -> None:
    def make(value: Any) -> Iterator[int]:
        yield 1
        gate.wait(SECONDS)

    stage = Streaming("slow", make)
    stream = Fallback(stage, good).stream("ab")
    assert next(iter(stream)) == 1
    stage.streams[0].cancel()
    with pytest.raises(StreamCancelled):
        stream.result()


def test_a_stream_that_is_cancelled_before_its_first_chunk_has_failed(
    gate: threading.Event,
) -> None:
    def wait(value: Any) -> Iterator[str]:
        gate.wait(SECONDS)
        yield "late"

    stage = Streaming("slow", wait)
    stream = Fallback(stage, good).stream("ab")
    stage.streams[0].cancel()
    assert stream.result() == "ab"


def test_its_span_ends_with_the_stream(gate: threading.Event) -> None:
    def wait(value: Any) -> Iterator[str]:
        yield "a"
        gate.wait(SECONDS)

    with recorder.record("call") as recorded:
        stream = Fallback(Streaming("slow", wait), name="text").stream("ab")
        assert next(iter(stream)) == "a"
    assert not recorded["text"].ended
    gate.set()
    until(lambda: recorded["text"].ended)
    assert recorded["text"].output is stream


def test_the_timeout_counts_to_the_first_chunk(gate: threading.Event) -> None:
    def wait(value: Any) -> Iterator[str]:
        gate.wait(SECONDS)
        yield "late"

    slow = Streaming("slow", wait)
    stage = Fallback(slow, good, timeout=SOON)
    while not slow.streams:
        assert stage.stream("ab").result() == "ab"
    until(lambda: slow.streams[0].state == "cancelled")
    with pytest.raises(DeadlineExceeded, match=r"'slow' expected to answer within 0.2 s"):
        Fallback(slow, timeout=SOON).stream("ab").result()

    def pause(value: Any) -> Iterator[str]:
        yield "a"
        gate.wait(SOON * 3)
        yield "b"

    unhurried = Fallback(Streaming("pause", pause), good, timeout=SOON * 2)
    assert unhurried.stream("x").result() in ("ab", "x")  # a busy machine may start it too late


def test_a_stage_whose_stream_does_not_begin_is_left_at_its_timeout(gate: threading.Event) -> None:
    def wait(value: Any) -> Any:
        gate.wait(SECONDS)
        return letters(value)

    slow = Streaming("slow", wait)
    stage = Fallback(slow, good, timeout=SOON)
    while not slow.asked:
        assert stage.stream("ab").result() == "ab"
    gate.set()
    until(lambda: slow.streams and slow.streams[0].finished)
    assert slow.streams[0].state == "cancelled"


def test_it_waits_for_a_reader_that_holds() -> None:
    made = []
    held = threading.Event()

    def count(value: int) -> Iterator[bytes]:
        assert held.wait(10)  # without a reader it would drop chunks
        for number in range(value):
            made.append(number)
            yield bytes(100_000)

    stage = Streaming("many", count, keep=10**6)
    stream = Fallback(stage, good).stream(200)
    reader = stream.hold()
    held.set()
    next(reader)
    until(lambda: len(made) > 40)
    threading.Event().wait(0.05)
    assert len(made) < 100  # both logs are full: 1 MB and 4 MiB
    assert sum(1 for _ in reader) == 199


def test_retries_and_circuits_hold_for_streams() -> None:
    shop = Streaming("shop", fail_at_once)
    stage = Fallback(shop, good, retries=1, open_after=3, name="text")
    for _ in range(4):
        assert stage.stream("ab").result() == "ab"
    assert len(shop.streams) == 3


def test_a_stage_that_answers_whole_is_named() -> None:
    with pytest.raises(InputError, match="does not stream"):
        Fallback(str).stream(1)
    with pytest.raises(CompositionError):
        Fallback()
