"""Callbacks at the end of a stream: once, whatever the end, and never in its way."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from conduit_lab.core.streams.pushed import PushedStream


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (lambda stream: stream.finish("all"), "done"),
        (lambda stream: stream.cancel(), "cancelled"),
        (lambda stream: stream.fail(ValueError()), "failed"),
    ],
)
def test_a_callback_is_called_once_after_the_end(
    end: Callable[[PushedStream[int]], None], state: str
) -> None:
    stream: PushedStream[int] = PushedStream()
    seen: list[str] = []
    stream.on_end(lambda ended: seen.append(ended.state))
    stream.start()
    assert seen == []
    end(stream)
    stream.cancel()
    assert seen == [state]


def test_a_callback_of_an_ended_stream_is_called_now() -> None:
    stream: PushedStream[int] = PushedStream()
    stream.finish("all")
    seen: list[object] = []
    stream.on_end(lambda ended: seen.append(ended.result()))
    assert seen == ["all"]


def test_a_callback_that_fails_is_logged_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream: PushedStream[int] = PushedStream(name="numbers")
    seen: list[str] = []

    def fail(_: object) -> None:
        raise ZeroDivisionError

    stream.on_end(fail)
    stream.on_end(lambda ended: seen.append(ended.state))
    with caplog.at_level(logging.ERROR):
        stream.finish()
    assert seen == ["done"]
    assert "an end callback of stream 'numbers' failed" in caplog.text
