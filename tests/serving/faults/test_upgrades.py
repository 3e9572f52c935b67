"""Requests that ask for another protocol, as Java's `HttpClient` and `curl --http2` send first."""

from __future__ import annotations

import logging

import pytest

from conduit_lab.serving.run.thread import Server
from tests.serving.faults.raw import HOST, JSON, connect, read_answer, request

UPGRADES = {
    "h2c": b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
    "websocket": b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n",
}
CHUNKED = b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n"
NEXT = request("/read", method="GET")


def declared(upgrade: bytes) -> bytes:
    return request(body=b"[1,2]", headers=HOST + JSON + upgrade)


def chunked(upgrade: bytes) -> bytes:
    return CHUNKED + HOST + JSON + upgrade + b"\r\n2\r\n[1\r\n3\r\n,2]\r\n0\r\nx: 1\r\n\r\n"


@pytest.mark.parametrize("name", UPGRADES)
@pytest.mark.parametrize("form", [declared, chunked])
def test_row_11_a_body_behind_an_upgrade_is_read(server: Server, name: str, form: object) -> None:
    assert callable(form)
    data = form(UPGRADES[name])
    end = data.index(b"\r\n\r\n") + 4
    for cut in (len(data), end, end - 1, end + 1, len(data) - 1):
        with connect(server) as client:
            for part in (data[:cut], data[cut:] + NEXT):  # what follows is not part of the body
                client.sendall(part)
            answer = read_answer(client)
        assert (answer.status, answer.body) == (200, b"[1,2]")
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("name", UPGRADES)
def test_row_11_an_upgrade_without_a_body_is_answered_and_the_connection_closed(
    server: Server, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    get = b"GET /read HTTP/1.1\r\n" + HOST + UPGRADES[name] + b"\r\n"
    with caplog.at_level(logging.WARNING), connect(server) as client:
        client.sendall(get + NEXT)
        text = b""
        while part := client.recv(2**16):
            text += part
    assert text.startswith(b"HTTP/1.1 200 ")
    assert (text.count(b"HTTP/1.1 "), text.count(b"connection: close")) == (1, 1)
    assert caplog.records == []


def test_row_11_a_broken_body_behind_an_upgrade_is_a_400(server: Server) -> None:
    data = CHUNKED + HOST + JSON + UPGRADES["h2c"] + b"\r\nx\r\n[1]\r\n0\r\n\r\n"
    with connect(server) as client:
        client.sendall(data)
        assert read_answer(client).status == 400
