"""Async generators over HTTP: on the server's loop, written by their own task as they yield."""

from __future__ import annotations

import asyncio
import contextvars
import json
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from conduit_lab import Lab, Stream
from conduit_lab.core.paths import find_root
from conduit_lab.core.streams.loop import package_loop
from tests.serving.conftest import SECONDS, until
from tests.serving.faces.counting import data, read

GET = b"GET %b HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"


class Gate:
    """Chunks that a test releases one by one, from any thread, for an async generator."""

    def __init__(self) -> None:
        self.open: asyncio.Semaphore
        self.loop: asyncio.AbstractEventLoop
        self.closed = threading.Event()

    async def numbers(self, total: int) -> AsyncIterator[int]:
        self.open, self.loop = asyncio.Semaphore(0), asyncio.get_running_loop()
        try:
            for number in range(total):
                yield number
                await self.open.acquire()
        finally:
            self.closed.set()

    def release(self) -> None:
        self.loop.call_soon_threadsafe(self.open.release)


@pytest.fixture
def gate(lab: Lab) -> Gate:
    gate = Gate()

    @lab.ml_stream("/count")
    async def count() -> AsyncIterator[int]:
        async for number in gate.numbers(4):
            yield number

    @lab.ml_stream("/kept", resume=SECONDS)
    async def kept() -> AsyncIterator[int]:
        async for number in gate.numbers(4):
            yield number

    return gate


def raw(port: int, path: bytes) -> bytes:
    """Return the whole answer to a GET, with the chunks of its transfer encoding."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
        client.sendall(GET % path)
        with client.makefile("rb") as answer:
            return answer.read()


def test_only_a_served_generator_runs_on_the_servers_loop(lab: Lab) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def inner() -> AsyncIterator[int]:
        loops.append(asyncio.get_running_loop())
        yield 1

    @lab.ml_stream("/outer")
    async def outer() -> AsyncIterator[int]:
        loops.append(asyncio.get_running_loop())
        async for number in Stream(inner()):
            yield number

    with lab.serve(port=0) as server:
        assert data(httpx.get(f"{server.url}/outer").text) == [1]
    served, nested = loops
    assert nested is package_loop()
    assert served is not nested
    loops.clear()
    assert list(outer()) == [1]
    assert loops == [package_loop()] * 2


def test_each_chunk_is_sent_before_the_next_one_is_asked_for(lab: Lab, gate: Gate) -> None:
    with (
        lab.serve(port=0) as server,
        httpx.Client(timeout=SECONDS) as client,
        connect_sse(client, "GET", f"{server.url}/count") as source,
    ):
        got = []
        for event in source.iter_sse():
            got.append(event.data)
            gate.release()
    assert got == ["0", "1", "2", "3"]


def test_chunks_that_come_fast_share_their_writes(lab: Lab) -> None:
    count = 3000

    @lab.ml_stream("/fast")
    async def fast() -> AsyncIterator[int]:
        for number in range(count):
            yield number
            await asyncio.sleep(0)

    with lab.serve(port=0) as server:
        answer = raw(server.port, b"/fast")
    lines = answer.split(b"\n")
    assert [int(line[6:]) for line in lines if line.startswith(b"data: ")] == list(range(count))
    writes = answer.count(b"\r\nid: ") + 1
    assert writes < count / 2


def test_a_generator_that_never_suspends_lets_other_requests_through(lab: Lab) -> None:
    stop = threading.Event()

    @lab.ml_stream("/busy", resume=SECONDS)
    async def busy() -> AsyncIterator[int]:
        number = 0
        while not stop.is_set():
            yield number
            number += 1

    with lab.serve(port=0) as server, httpx.Client(timeout=SECONDS) as client:
        with connect_sse(client, "GET", f"{server.url}/busy") as source:
            next(source.iter_sse())
            assert client.get(f"{server.url}/healthz").status_code == 200
        (stream,) = lab.endpoints[0].resumes.streams
        until(lambda: stream.readers == 0)  # nobody reads it now
        assert client.get(f"{server.url}/healthz").status_code == 200
        stop.set()


def test_another_reader_gets_every_chunk_when_the_first_one_leaves(lab: Lab, gate: Gate) -> None:
    with lab.serve(port=0) as server, ThreadPoolExecutor(1) as pool:
        with (
            httpx.Client(timeout=SECONDS) as client,
            connect_sse(client, "GET", f"{server.url}/count") as source,
        ):
            events = source.iter_sse()
            assert next(events).data == "0"
            (stream,) = lab.open_streams
            reader = stream.hold()
            rest = pool.submit(list, reader)
            gate.release()
            assert next(events).data == "1"
        until(lambda: stream.readers == 1)
        for _ in range(3):
            gate.release()
        assert rest.result(SECONDS) == [0, 1, 2, 3]
        assert stream.result(SECONDS) == [0, 1, 2, 3]


def test_a_second_client_is_woken_and_goes_on_alone(lab: Lab, gate: Gate) -> None:
    with lab.serve(port=0) as server, httpx.Client(timeout=SECONDS) as client:
        url = f"{server.url}/kept"
        with connect_sse(client, "GET", url) as first:
            events = first.iter_sse()
            began = next(events)
            second = client.stream("GET", url, headers={"last-event-id": began.id})
            with second as answer:
                lines = (line for line in answer.iter_lines() if line.startswith("data: "))
                gate.release()
                assert next(events).data == "1"
                assert next(lines) == "data: 1"
                first.response.close()
                (stream,) = lab.endpoints[1].resumes.streams
                until(lambda: stream.readers == 1)
                for _ in range(3):
                    gate.release()
                assert list(lines) == ["data: 2", "data: 3"]


def test_a_kept_stream_goes_on_without_a_reader(lab: Lab, gate: Gate) -> None:
    with lab.serve(port=0) as server, httpx.Client(timeout=SECONDS) as client:
        url = f"{server.url}/kept"
        with connect_sse(client, "GET", url) as source:
            began = next(source.iter_sse())
        (stream,) = lab.endpoints[1].resumes.streams
        until(lambda: stream.readers == 0)
        gate.release()
        gate.release()
        until(lambda: stream.count == 3)
        with connect_sse(client, "GET", url, headers={"last-event-id": began.id}) as source:
            events = source.iter_sse()
            assert [next(events).data for _ in range(2)] == ["1", "2"]
            gate.release()
            assert next(events).data == "3"
            gate.release()
            assert list(events) == []


def test_a_cancel_from_another_thread_ends_the_answer_and_closes_the_generator(
    lab: Lab, gate: Gate
) -> None:
    with (
        lab.serve(port=0) as server,
        httpx.Client(timeout=SECONDS) as client,
        connect_sse(client, "GET", f"{server.url}/count") as source,
    ):
        events = source.iter_sse()
        next(events)
        (stream,) = lab.open_streams
        stream.cancel()
        (last,) = events
        assert last.event == "error"
        assert json.loads(last.data)["type"] == "stream_cancelled"
        assert gate.closed.wait(SECONDS)


def test_a_client_that_leaves_closes_the_generator_at_its_await(lab: Lab, gate: Gate) -> None:
    with lab.serve(port=0) as server, httpx.Client(timeout=SECONDS) as client:
        with connect_sse(client, "GET", f"{server.url}/count") as source:
            next(source.iter_sse())
        assert gate.closed.wait(SECONDS)
        until(lambda: not lab.open_streams)


def test_the_generator_keeps_the_context_in_which_it_began(lab: Lab) -> None:
    place: contextvars.ContextVar[int] = contextvars.ContextVar("place", default=-1)

    @lab.ml_stream("/context")
    async def context() -> AsyncIterator[Any]:
        for number in range(3):
            before = place.get()
            place.set(number)
            await asyncio.sleep(0.003)
            yield [before, str(find_root())]

    with lab.serve(port=0) as server:
        chunks = data(httpx.get(f"{server.url}/context").text)
    assert [before for before, _ in chunks] == [-1, 0, 1]
    assert {root for _, root in chunks} == {str(find_root())}


def test_a_blocking_wait_in_a_served_generator_is_refused(lab: Lab) -> None:
    @lab.ml_stream("/block")
    async def block() -> AsyncIterator[Any]:
        inner = Stream(iter_after(0.2))
        try:
            inner.result()
        except RuntimeError as error:
            yield str(error)

    with lab.serve(port=0) as server:
        (message,) = data(httpx.get(f"{server.url}/block").text)
    assert "await stream" in message


async def iter_after(seconds: float) -> AsyncIterator[int]:
    await asyncio.sleep(seconds)
    yield 1


def test_a_stop_of_the_server_ends_a_generator_on_its_loop(lab: Lab, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as pool:
        with lab.serve(port=0) as server:
            reading = pool.submit(read, server.url)
            until(lambda: lab.open_streams)
            (stream,) = lab.open_streams
            until(lambda: stream.count)
        assert stream.state == "cancelled"
        assert gate.closed.wait(SECONDS)
        assert [event.event for event in reading.result(SECONDS)] == ["message", "error"]


def test_a_slow_client_does_not_stop_the_generator_for_another_reader(lab: Lab) -> None:
    size, count = 2**16, 40  # less than the log keeps, more than the connection takes

    @lab.ml_stream("/large")
    async def large() -> AsyncIterator[str]:
        for _ in range(count):
            yield "~" * size
            await asyncio.sleep(0.003)

    with lab.serve(port=0) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        client.connect(("127.0.0.1", server.port))
        client.sendall(GET % b"/large")
        until(lambda: lab.open_streams)
        (stream,) = lab.open_streams
        assert sum(map(len, stream.hold())) == size * count
        received = 0
        while part := client.recv(2**20):
            received += part.count(b"~")
    assert received == size * count
