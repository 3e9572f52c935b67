"""Pushed streams, and the wakeups of their readers."""

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


def test_readers_get_the_appended_chunks_until_the_finish() -> None:
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


def test_its_result_is_the_value_of_the_finish() -> None:
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


def test_chunks_and_errors_after_the_end_are_dropped() -> None:
    stream = pushed("a")
    stream.finish()
    stream.append("b")
    stream.fail(ValueError("too late"))
    assert stream.result() == "a"


def test_on_cancel_is_called_after_the_cancellation() -> None:
    stream, calls = pushed("a"), []
    stream.on_cancel(lambda: calls.append(stream.state))
    stream.cancel()
    assert calls == ["cancelled"]
    with pytest.raises(StreamCancelled):
        stream.result()


def test_on_cancel_of_a_cancelled_stream_calls_at_once() -> None:
    stream, calls = pushed(), []
    stream.cancel()
    stream.on_cancel(lambda: calls.append("stop"))
    assert calls == ["stop"]


@pytest.mark.parametrize("fails", [False, True])
def test_on_cancel_is_not_called_after_the_end(fails: bool) -> None:
    stream, calls = pushed(), []
    stream.on_cancel(lambda: calls.append("stop"))
    if fails:
        stream.fail(ValueError("of glass"))
    else:
        stream.finish()
    stream.cancel()
    assert calls == []


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


def test_the_wakeups_know_a_fast_producer(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_waiter_of_a_fast_producer_checks_again_before_it_asks_for_a_wakeup(
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
