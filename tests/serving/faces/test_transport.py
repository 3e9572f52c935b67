"""The transport of a stream knows no protocol: here it sends one JSON value per line."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from conduit_lab.core.streams.holders import Trail
from conduit_lab.core.streams.loop import ProducingHere
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.faces import transport, write_pace
from conduit_lab.serving.faces.formats import SseFormat
from tests.serving.conftest import SECONDS

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


class Lines:
    """NDJSON: one JSON value per line."""

    headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", b"application/x-ndjson"),)
    prelude = b""
    heartbeat = b"\n"

    def chunk(self, number: int, chunk: Any) -> bytes:
        return json.dumps({"n": number, "chunk": chunk}).encode() + b"\n"

    def lagged(self, missed: int, resume_at: int) -> bytes:
        return b'{"missed": %d, "resume_at": %d}\n' % (missed, resume_at)

    def error(self, kind: str, message: str) -> bytes:
        return json.dumps({"error": kind}).encode() + b"\n"

    def end(self, count: int) -> bytes:
        return b'{"count": %d}\n' % count


class Wire:
    """An ASGI server's side of one connection."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.left = anyio.Event()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def lines(self) -> list[Any]:
        body = b"".join(each.get("body", b"") for each in self.messages)
        return [json.loads(line) for line in body.split(b"\n") if line]


async def send(stream: Stream[Any], wire: Wire, start: int = 0) -> None:
    reader = stream.hold(start)
    await transport.send_stream(reader, Lines(), wire.receive, wire.send, headers=[(b"a", b"b")])


async def test_chunks_and_end_are_in_the_bytes_of_the_format(anyio_backend: str) -> None:
    wire = Wire()
    await send(Stream(iter("ab")), wire)
    assert wire.lines == [{"n": 0, "chunk": "a"}, {"n": 1, "chunk": "b"}, {"count": 2}]
    begin, *_, last = wire.messages
    assert begin["headers"] == [(b"content-type", b"application/x-ndjson"), (b"a", b"b")]
    assert [each["more_body"] for each in wire.messages[1:]].count(False) == 1
    assert not last["more_body"]


async def test_pending_chunks_go_out_in_one_write(anyio_backend: str) -> None:
    stream, wire = Stream(range(600)), Wire()
    await anyio.to_thread.run_sync(stream.wait, SECONDS)
    await send(stream, wire)
    counts = [each["body"].count(b"chunk") for each in wire.messages[1:]]
    assert counts == [512, 88]
    assert wire.lines[-1] == {"count": 600}  # in the last of them


async def test_a_stream_that_fails_ends_with_the_formats_error(anyio_backend: str) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("hunter2")

    wire = Wire()
    await send(Stream(broken()), wire)
    assert wire.lines == [{"n": 0, "chunk": 1}, {"error": "stream_failed"}]


async def test_a_chunk_without_a_form_ends_it_with_an_error(anyio_backend: str) -> None:
    wire = Wire()
    await send(Stream([1, object(), 2]), wire)
    assert wire.lines == [{"n": 0, "chunk": 1}, {"error": "stream_failed"}]
    assert not wire.messages[-1]["more_body"]


async def test_a_cancelled_stream_ends_with_the_formats_error(anyio_backend: str) -> None:
    stream: Stream[int] = Stream(_blocked())
    stream.cancel()
    wire = Wire()
    await send(stream, wire)
    assert wire.lines[-1] == {"error": "stream_cancelled"}


async def test_a_gap_is_reported_with_the_number_of_the_next_chunk(anyio_backend: str) -> None:
    stream = Stream((str(n).zfill(1000) for n in range(100)), keep=20_000)
    await anyio.to_thread.run_sync(stream.wait, SECONDS)
    wire = Wire()
    await send(stream, wire)
    gap, following, *_ = wire.lines
    assert gap["missed"] == gap["resume_at"] == following["n"] > 0


async def test_a_quiet_stream_gets_the_formats_heartbeat(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HEARTBEAT_SECONDS", 0.01)
    go = threading.Event()
    wire = Wire()

    async def send_and_note(message: Any) -> None:
        await Wire.send(wire, message)
        if message.get("body") == b"\n":
            go.set()

    def quiet() -> Iterator[int]:
        assert go.wait(SECONDS)
        yield 1

    reader = Stream(quiet()).hold()
    await transport.send_stream(reader, Lines(), wire.receive, send_and_note, headers=[])
    assert wire.lines == [{"n": 0, "chunk": 1}, {"count": 1}]


async def test_a_client_slower_than_the_heartbeat_is_not_cut(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HEARTBEAT_SECONDS", 0.01)
    wire = Wire()

    async def send_slowly(message: Any) -> None:
        await anyio.sleep(0.1)
        await wire.send(message)

    reader = Stream([1, 2]).hold()
    await transport.send_stream(reader, Lines(), wire.receive, send_slowly, headers=[])
    assert [line.get("chunk") for line in wire.lines] == [1, 2, None]


@pytest.mark.parametrize("lost", [False, True])
async def test_chunks_written_to_a_lost_connection_do_not_count_as_sent(
    anyio_backend: str, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = []

    class Connection:
        def get_extra_info(self, name: str) -> Any:
            return SimpleNamespace(setsockopt=lambda *option: options.append(option))

        def is_closing(self) -> bool:
            return lost

    class LostWire(Wire):
        transport = Connection()

    advanced = []
    monkeypatch.setattr(Trail, "advance", lambda trail, index: advanced.append(index))
    stream, wire = Stream([1, 2]), LostWire()
    await anyio.to_thread.run_sync(stream.wait, SECONDS)
    reader = stream.hold()
    await transport.send_stream(
        reader, Lines(), wire.receive, wire.send, headers=[], resumable=True
    )
    assert advanced == ([] if lost else [2])
    assert options == [(socket.SOL_SOCKET, socket.SO_SNDBUF, transport._MAX_UNSENT_BYTES)]


async def test_a_client_that_disconnects_ends_the_stream(anyio_backend: str) -> None:
    stream, wire = Stream(_blocked()), Wire()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, stream, wire)
        while not wire.lines:
            await anyio.sleep(0.001)
        wire.left.set()
    assert stream.state == "cancelled"
    assert wire.lines == [{"n": 0, "chunk": 0}]


def _blocked() -> Iterator[int]:
    yield 0
    threading.Event().wait(0.5)
    yield 1


async def test_the_bytes_of_server_sent_events(anyio_backend: str) -> None:
    events = SseFormat("abc")
    assert events.chunk(4, {"a": 1}) == b'id: abc:4\ndata: {"a":1}\n\n'
    assert events.lagged(3, 7) == (
        b'id: abc:6\nevent: lagged\ndata: {"missed":3,"resume_at":7}\n\n'
    )
    assert events.error("stream_failed", "why") == (
        b'id: abc:end\nevent: error\ndata: {"type":"stream_failed","message":"why"}\n\n'
    )
    assert (events.end(0), events.end(3)) == (b"", b"")
    browser = SseFormat("abc", browser=True)
    assert browser.end(3) == b""
    assert browser.end(0) == b'id: abc:end\nevent: end\ndata: {"chunks":0}\n\n'
    assert (events.prelude, events.heartbeat) == (b"retry: 1000\n", b": still here\n")


@pytest.mark.usefixtures("headers_wait")
async def test_fast_chunks_of_a_loop_with_many_clients_share_a_write(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream: PushedStream[str] = PushedStream()
    stream.start()
    wire = Wire()
    monkeypatch.setattr(transport, "pause_seconds", lambda: 0.1)
    paused: list[bool] = []
    known = transport._Client._pause

    async def pause(client: Any) -> bool:
        if paused:  # the chunk has been written, and the next has come
            stream.append("c")
            stream.append("d")
        paused.append(await known(client))
        return paused[-1]

    monkeypatch.setattr(transport._Client, "_pause", pause)

    async def write() -> None:
        stream.append("a")
        while len(wire.messages) < 2:
            await anyio.sleep(0.001)
        stream.append("b")
        while len(wire.messages) < 3:
            await anyio.sleep(0.001)
        stream.finish()

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        await send(stream, wire)
    texts = [[line.get("chunk") for line in each] for each in _writes(wire)]
    assert texts[:2] == [["a"], ["b", "c", "d"]]
    assert any(paused)  # the second write waited


def _writes(wire: Wire) -> list[list[Any]]:
    bodies = [each["body"] for each in wire.messages if each.get("body")]
    return [[json.loads(line) for line in body.split(b"\n") if line] for body in bodies]


@pytest.mark.usefixtures("headers_wait")
@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_a_generator_on_the_loop_shares_writes_at_the_same_pace(
    anyio_backend: str, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "pause_seconds", lambda: pause)

    class Pushed(Wire):
        transport = SimpleNamespace(get_write_buffer_size=lambda: 0)

    async def chunks() -> Any:
        for number in range(6):
            await anyio.sleep(0.0001)  # the client is parked
            yield number

    wire = Pushed()
    with ProducingHere():
        stream = Stream(chunks())
    await send(stream, wire)
    writes = _writes(wire)
    assert [line.get("chunk") for each in writes for line in each] == [*range(6), None]
    assert writes[0][0]["chunk"] == 0
    assert (len(writes) <= 3) == (pause > 0)


async def test_the_pause_grows_with_the_clients_of_the_loop(anyio_backend: str) -> None:
    seconds: list[float] = []
    streams = [PushedStream[str]() for _ in range(32)]

    async def end() -> None:
        await anyio.lowlevel.checkpoint()
        seconds.append(write_pace.pause_seconds())
        for stream in streams:
            stream.finish()

    assert write_pace.pause_seconds() == write_pace.MIN_PAUSE_SECONDS
    async with anyio.create_task_group() as group:
        for stream in streams:
            stream.start()
            group.start_soon(send, stream, Wire())
        group.start_soon(end)
    assert seconds == [32 / write_pace.WRITES_PER_SECOND]
    assert write_pace.pause_seconds() == write_pace.MIN_PAUSE_SECONDS


async def test_a_generator_that_has_all_at_once_is_one_write(anyio_backend: str) -> None:
    async def chunks() -> Any:
        yield "a"
        yield "b"

    wire = Wire()
    with ProducingHere():
        stream = Stream(chunks())
    await send(stream, wire)
    assert _writes(wire) == [[{"n": 0, "chunk": "a"}, {"n": 1, "chunk": "b"}, {"count": 2}]]
    assert [each.get("more_body") for each in wire.messages] == [None, False]
