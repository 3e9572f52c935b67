"""Clients of a stream that are quiet, slow or gone."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from httpx_sse import connect_sse

from conduit_lab import Lab
from conduit_lab.serving.faces import transport
from tests.serving.conftest import SECONDS, until
from tests.serving.faces.counting import Steps, data, serving


def test_a_quiet_stream_sends_comments_that_are_no_events(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HEARTBEAT_SECONDS", 0.01)
    steps = Steps(2)
    with (
        serving(lab, steps) as server,
        httpx.Client(timeout=SECONDS) as client,
        client.stream("POST", f"{server.url}/count") as response,
    ):
        lines = []
        for line in response.iter_lines():
            lines.append(line)
            if lines.count(": still here") == 2:
                steps.go.release()
                steps.go.release()
    comments = [n for n, line in enumerate(lines) if line == ": still here"]
    assert len(comments) >= 2
    assert all(lines[n + 1] != "" for n in comments)
    assert data("\n".join(lines)) == [0, 1]


def test_a_client_that_takes_nothing_is_cut_and_others_go_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(transport, "SEND_SECONDS", 0.2)
    closed = threading.Event()
    stop = threading.Event()

    @lab.ml_stream("/flood")
    def flood() -> Iterator[str]:
        try:
            while not stop.wait(0.0001):
                yield "x" * 100_000
        finally:
            closed.set()

    steps = Steps(2)
    with caplog.at_level(logging.WARNING, "conduit_lab"), serving(lab, steps) as server:
        with (
            httpx.Client(timeout=SECONDS) as client,
            connect_sse(client, "GET", f"{server.url}/count") as source,
            socket.create_connection((server.host, server.port)) as slow,
        ):
            events = source.iter_sse()
            assert next(events).data == "0"
            slow.sendall(b"GET /flood HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert closed.wait(
                SECONDS
            )  # the generation has ended though its client is still connected
            slow.settimeout(SECONDS)
            with pytest.raises(ConnectionError):
                while slow.recv(2**20):
                    pass
                raise ConnectionResetError  # an end instead of a reset is fine too
            steps.go.release()
            assert next(events).data == "1"
            steps.go.release()
        until(lambda: not lab.open_streams)
        until(lambda: not server._uvicorn.server_state.connections)
    stop.set()
    assert "disconnected a client that read nothing" in caplog.text
    assert "ASGI callable returned" not in caplog.text


def test_many_clients_that_leave_at_once_leave_nothing(lab: Lab) -> None:
    clients = 100
    go = threading.Event()

    @lab.ml_stream("/wait")
    def wait() -> Iterator[int]:
        yield 0
        go.wait(SECONDS)

    with lab.serve(port=0) as server:
        connections = [socket.create_connection((server.host, server.port)) for _ in range(clients)]
        for connection in connections:
            connection.sendall(b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n")
        for connection in connections:
            connection.settimeout(SECONDS)
            assert b"200" in connection.recv(1000)
        streams = list(lab.open_streams)
        assert len(streams) == clients
        for connection in connections:
            connection.close()
        until(lambda: not lab.open_streams)
        assert {stream.state for stream in streams} == {"cancelled"}
        go.set()
