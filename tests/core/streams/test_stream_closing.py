"""Generators that raise while they are closed: the end stays, the error is in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from conduit_lab.core.streams.stream import Stream
from tests.core.streams.sources import WAIT, Gate, Source, both_gates
from tests.core.streams.test_backpressure import until


def closing() -> Iterator[int]:
    try:
        yield from range(10**9)
    finally:
        raise LookupError("no such lamp")


async def closing_async() -> AsyncIterator[int]:
    try:
        for number in range(10**9):
            yield number
            await asyncio.sleep(0)
    finally:
        raise LookupError("no such lamp")


def stubborn() -> Iterator[int]:
    for number in range(10**9):
        try:
            yield number
        except GeneratorExit:
            yield -1


async def closing_at_a_yield() -> AsyncIterator[int]:
    try:
        for number in range(10**9):
            yield number
    except GeneratorExit:
        raise LookupError("no such lamp") from None


async def closing_at_an_await() -> AsyncIterator[int]:
    try:
        yield 1
        await asyncio.sleep(WAIT)
    finally:
        raise LookupError("no such lamp")


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return the message and the error of each record once there is one."""
    until(lambda: caplog.records)
    return [
        (record.getMessage(), str(record.exc_info and record.exc_info[1]))
        for record in caplog.records
    ]


@pytest.mark.parametrize(
    "source", [closing, closing_async, closing_at_a_yield, closing_at_an_await]
)
def test_an_error_of_a_closing_generator_is_logged_with_the_streams_name(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    stream: Stream[object] = Stream(source(), name="lamps")
    next(iter(stream))
    with caplog.at_level(logging.ERROR, "conduit_lab"):
        stream.cancel()
        ((message, error),) = logged(caplog)
    assert "'lamps'" in message
    assert error == "no such lamp"
    assert (stream.state, stream.error) == ("cancelled", None)


def test_a_generator_that_ignores_its_close_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = Stream(stubborn(), name="mule")
    next(iter(stream))
    with caplog.at_level(logging.ERROR, "conduit_lab"):
        stream.cancel()
        ((message, error),) = logged(caplog)
    assert "'mule'" in message
    assert "ignored GeneratorExit" in error


def test_an_error_after_the_cancellation_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(1)

    def fail() -> Iterator[int]:
        yield 1
        assert gate.open.wait(WAIT)
        raise LookupError("no such lamp")

    stream = Stream(fail(), name="lamps")
    next(iter(stream))
    with caplog.at_level(logging.ERROR, "conduit_lab"):
        stream.cancel()
        gate.open.set()
        ((message, error),) = logged(caplog)
    assert ("'lamps'" in message, error) == (True, "no such lamp")


@both_gates
def test_an_error_before_the_end_is_not_logged(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(1)
    stream = gate.stream(kind)
    mapped = stream.map(lambda chunk: 1 / (chunk - 1))
    with pytest.raises(ZeroDivisionError):
        mapped.result(WAIT)
    stream.wait(WAIT)
    gate.open.set()
    assert gate.closed.wait(WAIT)
    assert not caplog.records
