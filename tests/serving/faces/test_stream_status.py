"""A stream that fails before its first chunk answers with the status of its error."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from conduit_lab import App, Lab
from conduit_lab.core.errors import InputError, Overloaded
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.serving.errors import HttpError, http_error, internal_error
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import SECONDS, until

REASON = "the fields do not fit"


def generator(error: Exception) -> Iterator[int]:
    raise error
    yield 1


async def async_generator(error: Exception) -> AsyncIterator[int]:
    await asyncio.sleep(0)
    raise error
    yield 1


def pushed(error: Exception) -> PushedStream[int]:
    stream: PushedStream[int] = PushedStream()
    threading.Timer(0.001, stream.fail, (error,)).start()
    return stream


async def handler(error: Exception) -> AsyncIterator[int]:
    return async_generator(error)


SOURCES: list[Callable[[Exception], Any]] = [generator, async_generator, pushed, handler]
ERRORS = [
    InputError(REASON),
    HttpError(409, "conflict", REASON),
    Overloaded(REASON),
    ValueError(REASON),
]


@pytest.mark.usefixtures("headers_wait")
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_an_error_before_the_first_chunk_has_its_own_status(
    lab: Lab,
    source: Any,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    produce: Any = {
        generator: lambda: generator(error),
        async_generator: lambda: async_generator(error),
        pushed: lambda: pushed(error),
        handler: lambda: handler(error),
    }[source]
    lab.ml_stream("/fail", resume=SECONDS)(produce)
    expected = http_error(error) or internal_error()
    with lab.serve(port=0) as server, caplog.at_level(logging.ERROR, "conduit_lab"):
        answers = [
            httpx.get(f"{server.url}/fail", timeout=SECONDS),
            httpx.post(f"{server.url}/fail", timeout=SECONDS),
        ]
        until(lambda: not lab.open_streams)
    for answer in answers:
        facts = answer.json()["error"]
        assert (answer.status_code, facts["type"]) == (expected.status, expected.kind)
        assert answer.headers["content-type"] == "application/json"
        assert facts["message"] == expected.message
        assert (REASON in facts["message"]) == isinstance(error, InputError | HttpError)
        logged = [r for r in caplog.records if answer.headers["x-request-id"] in r.getMessage()]
        assert len(logged) == (http_error(error) is None)


def test_a_slow_stream_sends_its_headers_before_it_fails(app: App) -> None:
    go = threading.Event()

    @app.ml_stream("/slow")
    def slow() -> Iterator[int]:
        assert go.wait(SECONDS)
        raise InputError(REASON)
        yield 1

    with Server(app, port=0) as server, httpx.stream("GET", f"{server.url}/slow") as answer:
        assert answer.status_code == 200
        go.set()
        assert "event: error" in answer.read().decode()


def test_a_stream_cancelled_before_its_first_chunk_is_a_503(lab: Lab) -> None:
    @lab.ml_stream("/stopped")
    def stopped() -> PushedStream[int]:
        stream: PushedStream[int] = PushedStream()
        stream.cancel()
        return stream

    with lab.serve(port=0) as server:
        answer = httpx.get(f"{server.url}/stopped")
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "stream_cancelled"


def test_an_error_after_a_chunk_is_an_event_for_whoever_comes_back(lab: Lab) -> None:
    @lab.ml_stream("/late", resume=SECONDS)
    def late() -> Iterator[int]:
        yield 1
        raise InputError(REASON)

    with lab.serve(port=0) as server:
        first = httpx.get(f"{server.url}/late")
        stream_id = first.text.partition("id: ")[2].partition(":")[0]
        back = httpx.get(f"{server.url}/late", headers={"last-event-id": f"{stream_id}:0"})
    for answer in (first, back):
        assert answer.status_code == 200
        assert "event: error" in answer.text
