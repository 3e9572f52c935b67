"""Streams over a connection: events on arrival, late errors, clients that disconnect."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse

from conduit_lab import App, Lab
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.faces import transport
from conduit_lab.serving.request import Request
from conduit_lab.serving.run import thread as server_module
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import SECONDS, Ask, until


def read(url: str, path: str, body: Any) -> list[ServerSentEvent]:
    with (
        httpx.Client(base_url=url, timeout=SECONDS) as client,
        connect_sse(client, "POST", path, json=body) as source,
    ):
        return list(source.iter_sse())


def test_events_arrive_one_by_one_while_the_generator_still_runs(lab: Lab) -> None:
    go = threading.Semaphore(0)

    @lab.ml_stream("/count")
    def count(n: int) -> Iterator[dict[str, Any]]:
        for i in range(n):
            yield {"chunk": str(i), "complete": False}
            assert go.acquire(timeout=SECONDS)  # once this chunk was read
        yield {"chunk": "", "complete": True}

    with (
        lab.serve(port=0) as server,
        httpx.Client(timeout=SECONDS) as client,
        connect_sse(client, "POST", f"{server.url}/count", json={"n": 3}) as source,
    ):
        headers = source.response.headers
        got = []
        for event in source.iter_sse():
            got.append(json.loads(event.data))
            go.release()
    assert got == [{"chunk": str(i), "complete": False} for i in range(3)] + [
        {"chunk": "", "complete": True}
    ]
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "no-store"
    assert headers["x-request-id"]


def test_several_clients_each_read_a_stream_of_their_own(lab: Lab) -> None:
    meeting = threading.Barrier(5)

    @lab.ml_stream("/words")
    def words(text: str) -> Iterator[str]:
        meeting.wait(SECONDS)  # all five run at the same time
        yield from text.split()

    texts = [f"{n} is a number" for n in range(5)]
    with lab.serve(port=0) as server, ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda text: read(server.url, "/words", {"text": text}), texts))
    assert [[json.loads(event.data) for event in events] for events in answers] == [
        text.split() for text in texts
    ]


def test_a_client_that_leaves_cancels_the_stream_and_closes_the_generator(lab: Lab) -> None:
    closed = threading.Event()

    @lab.ml_stream("/endless")
    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
                sleep(0.001)
        finally:
            closed.set()

    seen: list[Stream[Any]] = []
    with lab.serve(port=0) as server:
        _watch(lab, seen)
        with (
            httpx.Client(timeout=SECONDS) as client,
            connect_sse(client, "POST", f"{server.url}/endless") as source,
        ):
            assert next(source.iter_sse()).data == "1"
        until(lambda: seen and seen[0].state == "cancelled")
        assert closed.wait(SECONDS)
        until(lambda: not lab.open_streams)
    assert lab.examples == []  # half a stream is no recorded call


def test_an_async_generator_is_cancelled_where_it_waits(lab: Lab) -> None:
    import asyncio

    closed = threading.Event()

    @lab.ml_stream("/endless")
    async def endless() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(3600)
        finally:
            closed.set()

    with lab.serve(port=0) as server:
        with (
            httpx.Client(timeout=SECONDS) as client,
            connect_sse(client, "POST", f"{server.url}/endless") as source,
        ):
            assert next(source.iter_sse()).data == "1"
        assert closed.wait(SECONDS)


def test_stop_lets_a_running_stream_finish(lab: Lab) -> None:
    started, stopping = threading.Event(), threading.Event()

    @lab.ml_stream("/short")
    def short() -> Iterator[str]:
        yield "begin"
        started.set()
        assert stopping.wait(SECONDS)
        yield "end"

    with ThreadPoolExecutor(2) as pool:
        server = lab.serve(port=0)
        reading = pool.submit(read, server.url, "/short", {})
        assert started.wait(SECONDS)
        stop = pool.submit(server.stop)
        until(lambda: server._uvicorn.should_exit)
        stopping.set()
        stop.result(SECONDS)
        assert [json.loads(event.data) for event in reading.result(SECONDS)] == ["begin", "end"]


def test_stop_ends_an_open_stream_with_an_event_that_says_so(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "THREAD_GRACE_SECONDS", 0.1)
    started, go = threading.Event(), threading.Event()

    @lab.ml_stream("/slow")
    def slow() -> Iterator[str]:
        yield "begin"
        started.set()
        go.wait(SECONDS)  # a generator that cannot be interrupted
        yield "never seen"

    with ThreadPoolExecutor(1) as pool:
        with lab.serve(port=0) as server:
            reading = pool.submit(read, server.url, "/slow", {})
            assert started.wait(SECONDS)
            server.stop()
            assert not server.running
        events = reading.result(SECONDS)
        go.set()
    assert [event.event for event in events] == ["message", "error"]
    assert json.loads(events[1].data)["type"] == "stream_cancelled"


def test_an_error_after_the_start_is_a_last_event_without_the_reason(
    app: App, asking: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    @app.ml_stream("/break")
    def break_() -> Iterator[str]:
        yield "one"
        raise RuntimeError("password is hunter2")

    with caplog.at_level(logging.ERROR, "conduit_lab"):
        answer = asking(app).post("/break")
    assert answer.status_code == 200
    events = _events(answer.text)
    assert [name for name, _ in events] == ["message", "error"]
    assert events[1][1]["type"] == "stream_failed"
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    (record,) = [r for r in caplog.records if answer.headers["x-request-id"] in r.getMessage()]
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])


def test_a_chunk_without_a_json_form_ends_the_stream_with_an_error_event(
    app: App, asking: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    @app.ml_stream("/objects")
    def objects() -> Iterator[Any]:
        yield 1
        yield object()
        yield 2

    with caplog.at_level(logging.ERROR, "conduit_lab"):
        answer = asking(app).post("/objects")
    assert [name for name, _ in _events(answer.text)] == ["message", "error"]
    assert "no JSON form" in caplog.text


def test_what_is_wrong_before_the_first_chunk_is_a_plain_400(app: App, asking: Ask) -> None:
    @app.ml_stream("/count")
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    answer = asking(app).post("/count", json={"n": "three"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"


def test_a_stream_endpoint_that_does_not_yield_is_a_500(app: App, asking: Ask) -> None:
    app.ml_stream("/number")(lambda: 5)  # type: ignore[arg-type, return-value]
    assert asking(app).post("/number").status_code == 500


def test_an_async_function_that_returns_its_chunks_is_a_stream_too(app: App, asking: Ask) -> None:
    @app.ml_stream("/later")
    async def later() -> list[int]:
        return [1, 2]

    assert later().result(SECONDS) == [1, 2]
    answer = asking(app).post("/later")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [data for _, data in _events(answer.text)] == [1, 2]


def test_text_with_line_breaks_stays_one_event(app: App, asking: Ask) -> None:
    @app.ml_stream("/lines")
    def lines() -> Iterator[str]:
        yield "a\nb\r\n\ndata: c"
        yield "\u2028"

    assert [data for _, data in _events(asking(app).post("/lines").text)] == [
        "a\nb\r\n\ndata: c",
        "\u2028",
    ]


def test_the_same_chunks_are_given_in_python_and_over_http(app: App, asking: Ask) -> None:
    @app.ml_stream("/generate")
    def generate(request: Request) -> Iterator[dict[str, Any]]:
        for word in request.parse_json()["prompt"].split():
            yield {"chunk": word, "complete": False}
        yield {"chunk": "", "complete": True}

    body = {"prompt": "where is my parcel"}
    assert [data for _, data in _events(asking(app).post("/generate", json=body).text)] == list(
        generate(body)  # type: ignore[arg-type]
    )


@pytest.mark.usefixtures("headers_wait")
def test_an_empty_stream_is_an_empty_answer(app: App, asking: Ask) -> None:
    app.ml_stream("/none")(lambda: iter(()))
    answer = asking(app).post("/none")
    assert (answer.status_code, answer.text) == (200, "")


def _events(text: str) -> list[tuple[str, Any]]:
    """Return (event name, data) of each event."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line)
        if "data" in fields:
            found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


def _watch(lab: Lab, seen: list[Stream[Any]]) -> None:
    """Add each stream that the lab's server sends to `seen`."""

    class Watched(set[Stream[Any]]):
        def add(self, stream: Stream[Any]) -> None:
            seen.append(stream)
            super().add(stream)

    (state,) = lab._lives.states
    state.open_streams = Watched()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_stream_without_a_chunk_yet_says_when_to_reconnect(
    app: App, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HEARTBEAT_SECONDS", 3600)
    go = threading.Event()

    @app.ml_stream("/slow")
    def slow() -> Iterator[int]:
        assert go.wait(SECONDS)
        yield 1

    with (
        Server(app, port=0) as server,
        httpx.stream(method, f"{server.url}/slow", timeout=SECONDS) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        go.set()
        rest = "\n".join(lines)
    assert rest.startswith(": still here\nid: ")
    assert "data: 1" in rest
