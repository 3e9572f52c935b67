"""The streams of a served app as Streams: chunks, ends, cancellation, and a lost connection."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from conduit_lab import RemoteApp, Stream
from conduit_lab.client import app_connection
from conduit_lab.core.errors import (
    InputError,
    RemoteError,
    RemoteInputError,
    RemoteUnknownName,
    RemoteUnreachable,
    StreamCancelled,
    StreamLagged,
)
from conduit_lab.serving.run import thread
from conduit_lab.serving.run.thread import Server
from tests.client.conftest import SECONDS, Connect, Desk
from tests.client.proxy import Proxy
from tests.serving.conftest import until


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy([(server.host, server.port)]) as proxy:
        yield proxy


def test_a_stream_has_the_chunks_of_the_local_one(desk: Desk, remote: RemoteApp) -> None:
    stream = remote.count(n=5)
    assert type(stream) is Stream
    assert list(stream) == list(desk.app.endpoints["/count"](n=5))
    assert stream.text == "0 1 2 3 4 "
    assert stream.state == "done"
    assert remote.once().result() == "ab"
    assert remote.endpoints["/count"].stream(2).result(SECONDS)[1]["n"] == 1
    assert remote.returned(n=3).result(SECONDS) == [0, 1, 2]
    assert remote.count(n=0).result(SECONDS) == []


def test_it_can_be_awaited_and_read_by_several(remote: RemoteApp) -> None:
    async def read() -> tuple[Any, list[Any], list[Any]]:
        stream = remote.count(n=3)
        return (
            await stream,
            [chunk["n"] async for chunk in stream],
            [chunk["n"] for chunk in stream],
        )

    whole, first, second = asyncio.run(read())
    assert [chunk["n"] for chunk in whole] == first == second == [0, 1, 2]


def test_images_and_sound_are_bytes_again(remote: RemoteApp) -> None:
    assert list(remote.pictures()) == [b"\x89PNG\r\n\x1a\n0000", {"sound": b"RIFF0000WAVE"}]


def test_a_cancelled_stream_ends_on_the_server(desk: Desk, remote: RemoteApp) -> None:
    desk.app.endpoints["/steps"].resumes.seconds = None
    stream = remote.steps(n=1000)
    assert next(iter(stream)) == 0
    stream.cancel()
    assert desk.closed.wait(0) is False
    until(lambda: not desk.app.open_streams)
    desk.go.release()
    assert desk.closed.wait(SECONDS)
    with pytest.raises(StreamCancelled):
        stream.result()


def test_a_stream_that_nobody_reads_on_is_not_lost(desk: Desk, remote: RemoteApp) -> None:
    stream = remote.steps(n=3)
    for _ in range(3):
        desk.go.release()
    until(lambda: stream.finished)
    assert list(stream) == [0, 1, 2]


def test_a_failure_on_the_server_is_a_remote_error(remote: RemoteApp) -> None:
    stream = remote.failing()
    got = []
    with pytest.raises(RemoteError, match="POST /failing: the stream failed") as caught:
        got += [chunk for chunk in stream]  # noqa: C416  # reads until the error
    assert next(iter(stream.kept)) == 1
    assert caught.value.kind == "stream_failed"
    assert len(caught.value.request_id) == 16
    assert "secret" not in str(caught.value)
    assert stream.state == "failed"


def test_wrong_arguments(remote: RemoteApp) -> None:
    with pytest.raises(InputError, match=r"count expected \(n: int = 3\)"):
        remote.count(m=3)
    with pytest.raises(RemoteInputError, match="n: expected a valid integer"):
        remote.count(n="many").result(SECONDS)


def test_it_resumes_after_each_lost_connection(
    desk: Desk, proxy: Proxy, connecting: Connect
) -> None:
    remote = connecting(proxy.url)
    stream = remote.steps(n=6)
    reader = iter(stream)
    for number in range(6):
        assert next(reader) == number
        before = proxy.connections
        proxy.cut()
        desk.go.release()
        if number < 5:
            until(lambda before=before: proxy.connections > before)  # type: ignore[misc]
    assert stream.result(SECONDS) == [*range(6)]
    assert desk.closed.wait(SECONDS)


@pytest.mark.parametrize("limit", [250, 350, 450, 475, 500, 600])
def test_no_chunk_is_lost_or_doubled_where_an_event_is_cut(
    desk: Desk, proxy: Proxy, connecting: Connect, limit: int
) -> None:
    remote = connecting(proxy.url)
    remote.close()  # so that the next connection is that of the stream
    proxy.limits = [limit]
    stream = remote.count(n=50)
    try:
        assert [chunk["n"] for chunk in stream] == [*range(50)]
    except RemoteUnreachable:
        assert stream.count == 0  # it may have run, and is not sent again
    assert proxy.connections >= 2


def test_without_resume_a_lost_connection_is_an_error(
    desk: Desk, proxy: Proxy, connecting: Connect
) -> None:
    desk.app.endpoints["/steps"].resumes.seconds = None
    remote = connecting(proxy.url)
    stream = remote.steps(n=3)
    assert next(iter(stream)) == 0
    proxy.cut()
    with pytest.raises(RemoteUnreachable, match="POST /steps: no whole answer from"):
        stream.result(SECONDS)
    assert stream.kept == [0]
    desk.go.release()


def test_a_stream_is_given_up_once_the_server_no_longer_keeps_it(
    desk: Desk, proxy: Proxy, connecting: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = connecting(proxy.url)
    endpoint = remote.steps
    monkeypatch.setitem(endpoint._contract.__dict__, "resume", 0.5)
    stream = endpoint(n=3)
    assert next(iter(stream)) == 0
    proxy.targets = []
    proxy.cut()
    with pytest.raises(RemoteUnreachable):
        stream.result(SECONDS)
    desk.go.release()


def test_another_worker_that_does_not_have_the_stream(
    desk: Desk, proxy: Proxy, connecting: Connect
) -> None:
    remote = connecting(proxy.url)
    stream = remote.steps(n=3)
    assert next(iter(stream)) == 0
    desk.app.endpoints["/steps"].resumes._held.clear()  # as a worker that has just started
    proxy.cut()
    with pytest.raises(RemoteUnknownName, match="there is no such stream") as caught:
        stream.result(SECONDS)
    assert caught.value.kind == "stream_gone"
    desk.go.release()


def test_a_stopping_server_ends_the_stream_with_an_error(
    desk: Desk, connecting: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "THREAD_GRACE_SECONDS", 0)
    server = Server(desk.app, port=0)
    stream = connecting(server.url).steps(n=3)
    assert next(iter(stream)) == 0
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    with pytest.raises(RemoteError) as caught:
        stream.result(SECONDS)
    assert caught.value.kind == "stream_cancelled" or isinstance(caught.value, RemoteUnreachable)
    desk.go.release()
    stopping.join(SECONDS)


def test_a_server_that_has_gone_silent_is_a_lost_connection(
    desk: Desk, server: Server, connecting: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_connection, "SILENT_SECONDS", 0.3)  # less than the heartbeat
    desk.app.endpoints["/steps"].resumes.seconds = None
    stream = connecting(server.url).steps(n=3)
    with pytest.raises(RemoteUnreachable):
        stream.result(SECONDS)
    desk.go.release()


class _Scripted(BaseHTTPRequestHandler):
    """Answers /openapi.json with one stream endpoint, and that with `events`."""

    protocol_version = "HTTP/1.1"
    events = b""
    kind = "text/event-stream"

    def do_GET(self) -> None:
        extension = {"name": "tokens", "shape": "stream", "method": "POST", "resume": None}
        operation = {"x-conduit-endpoint": extension}
        document = {
            "info": {"title": "scripted", "x-conduit-lab": {"version": "1"}},
            "paths": {"/tokens": {"post": operation}},
        }
        found = self.path == "/openapi.json"
        self._answer(200 if found else 404, "application/json", json.dumps(document).encode())

    def do_POST(self) -> None:
        self._answer(200, self.kind, self.events)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def scripted(connecting: Connect) -> Iterator[tuple[RemoteApp, type[_Scripted]]]:
    handler = type("Handler", (_Scripted,), {})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        answering = threading.Thread(target=server.serve_forever, args=(0.01,))
        answering.start()
        remote = connecting(f"http://127.0.0.1:{server.server_port}")
        remote.close()  # this server answers one connection at a time
        yield remote, handler
        remote.close()
        server.shutdown()
        answering.join(SECONDS)


def test_a_gap_is_reported_once_and_the_rest_is_read(scripted: Any) -> None:
    remote, handler = scripted
    handler.events = (
        b"id: s:0\ndata: 0\n\nid: s:4\nevent: lagged\n"
        b'data: {"missed": 4, "resume_at": 5}\n\nid: s:5\ndata: 5\n\nid: s:6\ndata: 6\n\n'
    )
    stream = remote.tokens()
    stream.wait(SECONDS)
    reader, got, gaps = stream.reader(0), [], []
    while True:
        try:
            got.append(next(reader))
        except StreamLagged as lag:
            gaps.append((lag.resume_at, list(lag.snapshot)))
        except StopIteration:
            break
    assert got == [5, 6]
    assert gaps == [(5, [5, 6])]
    assert (stream.count, stream.state) == (7, "done")
    with pytest.raises(StreamLagged):
        stream.result(SECONDS)
    assert stream.statistics.chunks == 7


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (b"data: {\n\n", "a chunk of the stream expected JSON"),
        (b"event: error\ndata: nonsense\n\n", "the stream failed"),
        (b'event: error\ndata: {"type": "x", "message": "no", "hint": "wait"}\n\n', "no: wait"),
        (
            b"event: lagged\ndata: []\n\nevent: lagged\ndata: {}\n\nevent: error\ndata: 1\n\n",
            "failed",
        ),
    ],
)
def test_events_that_make_no_sense_are_errors(scripted: Any, events: bytes, words: str) -> None:
    remote, handler = scripted
    handler.events = events
    with pytest.raises(RemoteError, match=words):
        remote.tokens().result(SECONDS)


def test_an_answer_without_events_is_an_error(scripted: Any) -> None:
    remote, handler = scripted
    handler.kind, handler.events = "text/html", b"<h1>a proxy"
    with pytest.raises(RemoteError, match="expected server-sent events, got 'text/html'"):
        remote.tokens().result(SECONDS)


def test_unknown_events_are_skipped(scripted: Any) -> None:
    remote, handler = scripted
    handler.events = b"event: news\ndata: x\n\n: quiet\n\ndata: 1\n\n"
    assert remote.tokens().result(SECONDS) == [1]
