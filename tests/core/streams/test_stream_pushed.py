"""Streams that are written from outside, and how their readers are woken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from conduit_lab.core.errors import StreamCancelled
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.streams.wakeups import Wakeups, block_until, wait_until
from tests.core.streams.sources import WAIT, in_thread


def pushed(*chunks: Any) -> PushedStream[Any, Any]:
    """Return a stream at work that holds `chunks`."""
    stream: PushedStream[Any, Any] = PushedStream(name="pushed")
    stream.start()
    for chunk in chunks:
        stream.append(chunk)
    return stream


def test_it_gives_what_is_appended_until_it_is_finished() -> None:
    stream: PushedStream[str] = PushedStream()
    states = [stream.state]
    stream.start()
    states.append(stream.state)
    assert states == ["pending", "running"]
    joined = in_thread(lambda: list(stream))
    stream.append("a")
    stream.append("b")
    stream.finish()
    assert joined() == ["a", "b"]
    assert stream.result() == "ab"
    assert stream.state == "done"


def test_its_result_is_what_it_was_finished_with() -> None:
    stream = pushed("a")
    stream.finish(7)
    assert stream.result() == 7


def test_its_error_arrives_at_a_reader() -> None:
    stream = pushed("a")
    stream.fail(ValueError("of glass"))
    reader = iter(stream)
    assert next(reader) == "a"
    with pytest.raises(ValueError, match="of glass"):
        next(reader)


def test_nothing_comes_after_the_end() -> None:
    stream = pushed("a")
    stream.finish()
    stream.append("b")
    stream.fail(ValueError("too late"))
    assert stream.result() == "a"


def test_the_producer_is_told_of_a_cancel() -> None:
    stream, told = pushed("a"), []
    stream.on_cancel(lambda: told.append(stream.state))
    stream.cancel()
    assert told == ["cancelled"]
    with pytest.raises(StreamCancelled):
        stream.result()


def test_the_producer_is_told_of_a_cancel_that_came_before_it_asked() -> None:
    stream, told = pushed(), []
    stream.cancel()
    stream.on_cancel(lambda: told.append("stop"))
    assert told == ["stop"]


def test_the_producer_is_not_told_of_a_cancel_after_the_end() -> None:
    stream, told = pushed(), []
    stream.on_cancel(lambda: told.append("stop"))
    stream.finish()
    stream.cancel()
    assert told == []


def test_one_made_in_another_streams_generator_is_cancelled_with_it() -> None:
    made: list[PushedStream[str]] = []

    def source() -> Iterator[str]:
        made.append(pushed("a"))
        yield from made[0]

    outer = Stream(source())
    assert next(iter(outer)) == "a"
    outer.cancel()
    assert made[0].state == "cancelled"
    outer.wait(WAIT)


def test_a_chunk_that_a_pause_follows_reaches_an_async_reader() -> None:
    async def read() -> list[str]:
        stream = pushed("a")
        reader = aiter(stream)
        got = [await anext(reader)]
        waits = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        for chunk in "bcd":  # faster than readers are woken; then nothing
            stream.append(chunk)
        got.append(await waits)
        got += [await anext(reader) for _ in "cd"]
        waits = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0.01)
        stream.append("e")
        got.append(await waits)
        stream.finish()
        return got

    assert asyncio.run(asyncio.wait_for(read(), WAIT)) == list("abcde")


def test_the_producer_says_whether_chunks_come_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 10.0005, 10.01])
    monkeypatch.setattr("conduit_lab.core.streams.pushed.monotonic", lambda: next(times))
    stream, fast = pushed(), []
    for chunk in "abc":
        stream.append(chunk)
        fast.append(stream._wakeups.fast)
    assert fast == [False, True, False]
    stream.finish()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_who_waits_for_what_comes_fast_looks_again_before_asking_to_be_woken(
    fast: bool, asynchronous: bool
) -> None:
    wakeups, asked = Wakeups(), []
    wakeups.fast = fast

    def ready() -> bool:
        asked.append(len(wakeups.waiters))
        return len(asked) >= 2

    if asynchronous:
        asyncio.run(wait_until(ready, wakeups))
    else:
        assert block_until(wakeups, ready)
    assert asked[:2] == [0, 0 if fast else 1]
    assert not wakeups.waiters
