"""sse-starlette: its events in our streams, our streams in anybody's app that uses it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Header
from httpx_sse import ServerSentEvent as Received
from httpx_sse import connect_sse
from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from conduit_lab import App, Stream, events
from conduit_lab.core.errors import InputError
from conduit_lab.core.streams.pushed import PushedStream
from tests.serving.conftest import SECONDS, Ask, until

Make = Callable[[], Stream[Any]]


def starlette_app(make: Make) -> Any:
    """Return a Starlette app that keeps one stream, and lets a client resume it."""
    kept: dict[str, Stream[Any]] = {}

    async def answer(request: Request) -> EventSourceResponse:
        return EventSourceResponse(events(make()))

    async def resumable(request: Request) -> EventSourceResponse:
        last = request.headers.get("last-event-id")
        name = "first" if last is None else last.partition(":")[0]
        stream = kept[name] = kept.get(name) or make()
        return EventSourceResponse(events(stream, stream_id=name, last_event_id=last))

    return Starlette(routes=[Route("/stream", answer), Route("/resumable", resumable)])


def fastapi_app(make: Make) -> Any:
    """Return the same app of FastAPI."""
    app = FastAPI()
    kept: dict[str, Stream[Any]] = {}

    @app.get("/stream")
    async def stream() -> EventSourceResponse:
        return EventSourceResponse(events(make()))

    @app.get("/resumable")
    async def resumable(last_event_id: str | None = Header(None)) -> EventSourceResponse:
        name = "first" if last_event_id is None else last_event_id.partition(":")[0]
        stream = kept[name] = kept.get(name) or make()
        return EventSourceResponse(events(stream, stream_id=name, last_event_id=last_event_id))

    return app


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an app on a thread; yield its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()


def read(url: str, last: str | None = None, count: int | None = None) -> list[Received]:
    headers = {} if last is None else {"last-event-id": last}
    with (
        httpx.Client(timeout=SECONDS) as client,
        connect_sse(client, "GET", url, headers=headers) as source,
    ):
        got = []
        for event in source.iter_sse():
            got.append(event)
            if len(got) == count:
                break
        return got


async def values() -> AsyncIterator[Any]:
    yield {"chunk": "a"}
    yield np.arange(2)
    yield ServerSentEvent("line one\nline two", event="note", id="own")


@pytest.mark.parametrize("make_app", [starlette_app, fastapi_app])
def test_a_stream_goes_into_anybodys_app(make_app: Any) -> None:
    with served(make_app(lambda: Stream(values()))) as url:
        got = read(f"{url}/stream")
    assert [(each.event, each.data) for each in got] == [
        ("message", '{"chunk":"a"}'),
        ("message", "[0,1]"),
        ("note", "line one\nline two"),
    ]
    assert [each.id for each in got] == ["0", "1", "own"]


@pytest.mark.parametrize("make_app", [starlette_app, fastapi_app])
def test_anybodys_app_resumes_a_stream(make_app: Any) -> None:
    go = threading.Event()

    def numbers() -> Iterator[int]:
        yield from range(3)
        assert go.wait(SECONDS)
        yield from range(3, 6)

    with served(make_app(lambda: Stream(numbers()))) as url:
        first = read(f"{url}/resumable", count=2)
        assert [each.id for each in first] == ["first:0", "first:1"]
        go.set()
        rest = read(f"{url}/resumable", first[-1].id)
        assert [each.data for each in rest] == ["2", "3", "4", "5"]
        assert read(f"{url}/resumable", "first:end") == []


@pytest.mark.parametrize("make_app", [starlette_app, fastapi_app])
def test_a_client_that_leaves_anybodys_app_cancels_the_stream(make_app: Any) -> None:
    closed = threading.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                await asyncio.sleep(0.002)
                yield 1
        finally:
            closed.set()

    with served(make_app(lambda: Stream(endless()))) as url:
        read(f"{url}/stream", count=2)
        assert closed.wait(SECONDS)


def failed() -> Stream[Any]:
    stream: PushedStream[Any] = PushedStream()
    stream.append(1)
    stream.fail(ValueError("the secret reason"))
    return stream


def cancelled() -> Stream[Any]:
    stream: PushedStream[Any] = PushedStream()
    stream.append(1)
    stream.cancel()
    return stream


@pytest.mark.parametrize(
    ("make", "kind"), [(failed, "stream_failed"), (cancelled, "stream_cancelled")]
)
def test_a_stream_that_does_not_end_well_ends_with_an_error(make: Make, kind: str) -> None:
    async def read_all() -> list[Any]:
        return [event async for event in events(make())]

    one, error = asyncio.run(read_all())
    assert one == {"id": "0", "data": "1"}
    assert error["event"] == "error"
    assert json.loads(error["data"])["type"] == kind
    assert "secret" not in error["data"]


def test_a_gap_is_an_event() -> None:
    async def read_all() -> list[Any]:
        stream: PushedStream[str] = PushedStream(keep=1000)
        for _ in range(100):
            stream.append("x" * 100)
        stream.finish()
        return [event async for event in events(stream)]

    gap, *rest = asyncio.run(read_all())
    place = json.loads(gap["data"])
    assert gap["event"] == "lagged"
    assert place["missed"] + len(rest) == 100
    assert gap["id"] == str(place["resume_at"] - 1)


@pytest.mark.parametrize("last", ["", "a", "s:-1", "s:²", "s:" + "9" * 400])
def test_an_id_without_a_number_is_refused(last: str) -> None:
    with pytest.raises(InputError, match="last_event_id"):
        events(Stream([1]), last_event_id=last)


def test_a_handler_yields_events_that_are_sent_as_they_say(app: App, asking: Ask) -> None:
    @app.ml_stream("/events")
    async def own() -> AsyncIterator[Any]:
        yield ServerSentEvent("plain")
        yield ServerSentEvent("a\r\nb", event="note", id="own", retry=5)
        yield ServerSentEvent(comment="still thinking")
        yield JSONServerSentEvent({"n": 1})
        yield {"n": 2}

    text = asking(app).get("/events").text
    stream_id = text.partition("id: ")[2].partition(":")[0]
    assert text == (
        f"retry: 1000\nid: {stream_id}:0\ndata: plain\n\n"
        "id: own\nevent: note\ndata: a\ndata: b\nretry: 5\n\n"
        ": still thinking\n\n"
        f'id: {stream_id}:3\ndata: {{"n":1}}\n\n'
        f'id: {stream_id}:4\ndata: {{"n":2}}\n\n'
    )


def test_a_served_app_does_not_import_sse_starlette() -> None:
    code = (
        "import sys, asyncio\n"
        "from conduit_lab import App, Stream, events\n"
        "async def read(): return [e async for e in events(Stream([object, 1][1:]))]\n"
        "assert asyncio.run(read()) == [{'id': '0', 'data': '1'}]\n"
        "assert not [name for name in sys.modules if name.startswith('sse_starlette')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS)
