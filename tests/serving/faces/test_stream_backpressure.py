"""Fast producers over HTTP: every chunk arrives, or an event reports the gap."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from time import sleep
from typing import Any

import httpx
import pytest

from conduit_lab import App, Lab, Stream, merge
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.serving.faces import transport
from conduit_lab.serving.run import thread as server_module
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import SECONDS, Ask, until

MEGABYTE = 2**20
KEEP = 20_000
COUNT = 400


def texts(count: int = COUNT, size: int = 1000) -> Iterator[str]:
    for n in range(count):
        yield f"{n:06}" + "x" * size


async def texts_async(count: int = COUNT, size: int = 1000) -> AsyncIterator[str]:
    for text in texts(count, size):
        yield text


def nested() -> Iterator[str]:
    yield from Stream(texts(), keep=KEEP)


async def nested_async() -> AsyncIterator[str]:
    async for text in Stream(texts_async(), keep=KEEP):
        yield text


async def awaited() -> Any:
    return texts(8, MEGABYTE)


def late() -> Stream[str]:
    stream = Stream(texts(), keep=KEEP)
    sleep(0.3)  # a handler that takes its time
    return stream


async def same(chunk: str) -> str:
    return chunk


def numbers(text: str) -> list[int]:
    """Return the numbers of an answer's chunks; fail for any other event."""
    assert "event:" not in text
    return [int(json.loads(line[6:])[:6]) for line in text.split("\n") if line.startswith("data: ")]


def stream(source: Any) -> Stream[Any]:
    return Stream(source, keep=KEEP)


HANDLERS: dict[str, tuple[Callable[..., Any], int]] = {
    "generator": (lambda: texts(8, MEGABYTE), 8),
    "large chunks": (lambda: texts(3, 5 * MEGABYTE), 3),
    "awaited generator": (awaited, 8),
    "stream": (lambda: stream(texts()), COUNT),
    "async stream": (lambda: stream(texts_async()), COUNT),
    "late": (late, COUNT),
    "map": (lambda: stream(texts()).map(str), COUNT),
    "async map": (lambda: stream(texts()).map(same), COUNT),
    "map of a map": (lambda: stream(texts_async()).map(str).map(same), COUNT),
    "merge": (lambda: merge([stream(texts())]), COUNT),
    "nested": (lambda: stream(nested()), COUNT),
    "async nested": (lambda: stream(nested_async()), COUNT),
}


@pytest.mark.parametrize("name", HANDLERS)
def test_every_chunk_of_a_fast_producer_arrives(app: App, name: str) -> None:
    handler, count = HANDLERS[name]
    app.ml_stream("/fast")(handler)
    with Server(app, port=0) as server:
        for _ in range(3):
            assert numbers(httpx.post(f"{server.url}/fast", timeout=SECONDS).text) == list(
                range(count)
            )


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_every_chunk_of_a_generator_function_arrives(lab: Lab, kind: str) -> None:
    @lab.ml_stream("/sync")
    def sync(n: int) -> Iterator[str]:
        yield from texts(n, MEGABYTE)

    @lab.ml_stream("/async")
    async def asynchronous(n: int) -> AsyncIterator[str]:
        async for text in texts_async(n, MEGABYTE):
            yield text

    with lab.serve(port=0) as server:
        answer = httpx.get(f"{server.url}/{kind}?n=8", timeout=SECONDS)
    assert numbers(answer.text) == list(range(8))


def test_chunks_that_nobody_could_hold_back_are_told_as_lost(app: App, asking: Ask) -> None:
    def pushed() -> PushedStream[str]:
        made: PushedStream[str] = PushedStream(keep=KEEP)
        for text in texts():
            made.append(text)
        made.finish()
        return made

    app.ml_stream("/pushed")(pushed)
    first, *events = asking(app).post("/pushed").text.split("\n\n")
    lagged = json.loads(first.partition("data: ")[2])
    assert "event: lagged" in first
    assert (
        lagged["missed"] == lagged["resume_at"] == COUNT - len(events) + 1
    )  # the last piece is empty
    assert numbers("\n\n".join(events)) == list(range(lagged["resume_at"], COUNT))


def test_a_late_client_of_a_running_stream_is_told_what_it_missed(app: App, asking: Ask) -> None:
    shared = Stream(texts(), keep=KEEP)
    shared.wait(SECONDS)
    app.ml_stream("/shared")(lambda: shared)
    answers = [asking(app).post("/shared").text for _ in range(2)]
    assert [answer.count("event: lagged") for answer in answers] == [1, 1]


def connected(server: Server, path: str, headers: str = "") -> socket.socket:
    """Return a connection that has sent its request and reads nothing yet."""
    client = socket.create_connection((server.host, server.port), SECONDS)
    client.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n".encode())
    return client


class Watched:
    """A stream endpoint without an end, and the stream of its last call."""

    def __init__(self, app: App, **options: Any) -> None:
        self.streams: list[Stream[Any]] = []
        self.closed = threading.Event()
        app.ml_stream("/endless", **options)(self.endless)

    def endless(self) -> Stream[str]:
        made = Stream(self._chunks(), keep=4 * MEGABYTE)
        self.streams.append(made)
        return made

    endless.__name__ = "endless"

    def _chunks(self) -> Iterator[str]:
        try:
            n = 0
            while True:
                yield f"{n:06}" + "x" * 100_000
                n += 1
        finally:
            self.closed.set()

    def held(self) -> Stream[Any]:
        """Return the stream once its producer waits."""
        until(lambda: self.streams and self.streams[-1].count)
        made = self.streams[-1]
        before = -1
        while before != made.count:
            before = made.count
            sleep(0.3)
        return made


def test_a_client_that_reads_slowly_holds_the_producer(app: App) -> None:
    watched = Watched(app)
    with Server(app, port=0) as server, connected(server, "/endless") as client:
        made = watched.held()
        before = made.count
        assert made._log._held < 5 * MEGABYTE
        for _ in range(200):
            client.recv(100_000)
        until(lambda: made.count > before)
    assert watched.closed.wait(SECONDS)


def test_a_client_that_leaves_ends_a_held_producer_at_once(app: App) -> None:
    watched = Watched(app)
    with Server(app, port=0) as server:
        client = connected(server, "/endless")
        made = watched.held()
        client.close()
        assert watched.closed.wait(5)
        assert made.state == "cancelled"
        until(lambda: not app.open_streams)


def test_a_client_that_takes_nothing_is_cut_and_the_producer_ends(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SEND_SECONDS", 0.5)
    monkeypatch.setattr(transport, "HEARTBEAT_SECONDS", 0.2)
    watched = Watched(app)
    with Server(app, port=0) as server, connected(server, "/endless"):
        assert watched.closed.wait(SECONDS)
        assert watched.streams[-1].state == "cancelled"


def test_a_stop_ends_a_held_producer(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "THREAD_GRACE_SECONDS", 0.2)
    watched = Watched(app)
    with Server(app, port=0) as server:
        client = connected(server, "/endless")
        watched.held()
        server.stop()
        assert watched.closed.wait(SECONDS)
        client.close()


def test_draining_ends_a_held_producer(app: App) -> None:
    watched = Watched(app, resume=SECONDS)
    with Server(app, port=0) as server, connected(server, "/endless"):
        made = watched.held()
        app.drain()
        assert watched.closed.wait(SECONDS)
        assert made.state == "cancelled"


def test_a_stream_waits_for_a_client_that_may_come_back(lab: Lab) -> None:
    flood = threading.Event()
    streams: list[Stream[str]] = []

    def bursts() -> Iterator[str]:
        for n, text in enumerate(texts()):
            if n == 5:
                assert flood.wait(SECONDS)
            yield text

    def fast() -> Stream[str]:
        streams.append(stream(bursts()))
        return streams[-1]

    lab.ml_stream("/fast", resume=SECONDS)(fast)
    with lab.serve(port=0) as server:
        with httpx.stream("GET", f"{server.url}/fast", timeout=SECONDS) as answer:
            ids = (line for line in answer.iter_lines() if line.startswith("id: "))
            last = [next(ids) for _ in range(5)][-1]
        (made,) = streams
        until(lambda: made.readers == 0)
        flood.set()
        sleep(0.3)
        assert made.count < 30
        headers = {"last-event-id": last.removeprefix("id: ")}
        rest = httpx.get(f"{server.url}/fast", headers=headers, timeout=SECONDS).text
    assert numbers(rest) == list(range(5, COUNT))


def test_a_stream_whose_client_does_not_come_back_ends_with_its_time(app: App) -> None:
    watched = Watched(app, resume=0.5)
    with Server(app, port=0) as server:
        client = connected(server, "/endless")
        watched.held()
        client.close()
        assert watched.closed.wait(SECONDS)
    assert watched.streams[-1].state == "cancelled"
