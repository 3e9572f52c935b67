"""Hostile bytes: the rows 1 to 17 of the faults that a served app survives (docs/security.md)."""

from __future__ import annotations

import gzip
import json
import resource
import sys
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest

from conduit_lab import Limits
from conduit_lab.serving.faces import transport
from conduit_lab.serving.gate.keys import new_key
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import until
from tests.serving.faults.conftest import Desk
from tests.serving.faults.raw import (
    HOST,
    JSON,
    SECONDS,
    Answer,
    ask,
    connect,
    is_well,
    plain_uvicorn,
    read_answer,
    request,
)

MEGABYTE = 2**20


def short(value: Any) -> str:
    return repr(value)[:24]


def refuses(answer: Answer, status: int) -> bool:
    """Return whether an answer is an error of this status, which names nothing of the server."""
    text = answer.body.decode()
    leaks = [word for word in ("Traceback", "site-packages", "/work", "0x", ".py") if word in text]
    return not leaks and answer.status == status and answer.error["status"] == status


@pytest.mark.parametrize("body", [b"", b"not json", b"{", b'{"a": 1} more', b"[1][2]"], ids=short)
def test_row_01_no_json_is_a_400(server: Server, body: bytes) -> None:
    assert refuses(ask(server, request(body=body)), 400)


@pytest.mark.parametrize("body", [b"null", b"5", b"[1]", b'"text"', b"true"], ids=short)
def test_row_02_no_object_is_a_400_where_one_is_expected(server: Server, body: bytes) -> None:
    assert refuses(ask(server, request("/typed", body)), 400)


@pytest.mark.parametrize(
    "body", [b'"\xff\xfe"', '"text"'.encode("utf-16"), b'"\xed\xa0\x80"', b'"\xc0\xaf"'], ids=short
)
def test_row_03_bytes_that_are_no_utf8_are_a_400(server: Server, body: bytes) -> None:
    assert refuses(ask(server, request(body=body)), 400)


@pytest.mark.parametrize(
    "body", [rb'{"text": "a\ud800"}', rb'{"text": "\udfff\ud800", "count": 2}']
)
def test_row_04_an_escaped_lone_surrogate_is_no_5xx(server: Server, body: bytes) -> None:
    assert ask(server, request("/typed", body)).status in (200, 400)


NESTED = {
    "arrays": b"[" * 100_000 + b"]" * 100_000,
    "unclosed": b'{"a":' * 100_000,
    "just too deep": b"[" * 201 + b"]" * 201,
    "behind flat ones": b"[" + b"[]," * 500 + b"[" * 201 + b"]" * 202,
    "beside strings": b'[{"a":"b"},' * 201 + b"1" + b"]" * 201,
    "mixed": b'[{"a":' * 300 + b"1" + b"}]" * 300,
    "hidden by strings": b'["]]",' * 600 + b"1" + b"]" * 600,
    "escaped quotes": rb'["\"]\\",' * 600 + b"1" + b"]" * 600,
    "at the end": b"[" + b"[]," * 90_000 + b"[" * 600 + b"]" * 601,
}


@pytest.mark.parametrize("name", NESTED)
def test_row_05_deep_nesting_is_a_400(server: Server, name: str) -> None:
    assert refuses(ask(server, request(body=NESTED[name])), 400)


FLAT = {
    "just deep enough": b"[" * 200 + b"]" * 200,
    "brackets in a text": b'["' + b"[{" * 600 + b'"]',
    "behind an escaped quote": rb'["\"[[' + b"[{" * 600 + b'"]',
    "many": b"[" + b"[]," * 900 + b"0]",
}


@pytest.mark.parametrize("name", FLAT)
def test_row_05_what_is_not_deep_is_taken(server: Server, name: str) -> None:
    answer = ask(server, request(body=FLAT[name]))
    assert (answer.status, answer.body) == (200, FLAT[name])


@pytest.mark.parametrize("body", [b"NaN", b"[Infinity]", b'{"a": -Infinity}', b"[1e999]"])
def test_row_06_nan_and_infinity_are_a_400(server: Server, body: bytes) -> None:
    assert refuses(ask(server, request(body=body)), 400)


def test_row_07_a_10000_digit_integer_is_a_400(server: Server) -> None:
    assert refuses(ask(server, request(body=b"1" * 10_000)), 400)
    assert refuses(ask(server, request("/typed", b'{"text": "", "count": %b}' % (b"1" * 999))), 400)


def chunked(chunk: bytes, count: int) -> Iterator[bytes]:
    yield b"POST /echo HTTP/1.1\r\n" + HOST + JSON + b"transfer-encoding: chunked\r\n\r\n"
    piece = b"%x\r\n%b\r\n" % (len(chunk), chunk)
    for _ in range(count):
        yield piece
    yield b"0\r\n\r\n"


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.mark.parametrize("way", ["declared", "chunked"])
def test_row_08_a_gigabyte_is_a_413_and_not_kept(server: Server, way: str) -> None:
    before = resident()
    part = b'"' + b"a" * (MEGABYTE - 1)
    if way == "declared":
        answer = ask(server, [request(length=2**30), *[part] * 1024])
    else:
        answer = ask(server, chunked(part, 1024))
    assert refuses(answer, 413)
    assert resident() - before < 100 * MEGABYTE


def test_row_09_a_declared_length_of_100_gb_is_a_413_at_once(server: Server) -> None:
    assert refuses(ask(server, request(length=100 * 2**30)), 413)


SPACES = b" " * (24 * MEGABYTE)
BOMBS = {
    b"gzip": gzip.compress(SPACES, 1),
    b"deflate": zlib.compress(SPACES, 1),
    b"GZIP": gzip.compress(SPACES, 1),
}


@pytest.mark.parametrize("encoding", BOMBS)
def test_row_10_a_bomb_is_a_413(server: Server, encoding: bytes) -> None:
    headers = HOST + JSON + b"content-encoding: %b\r\n" % encoding
    assert refuses(ask(server, request(body=BOMBS[encoding], headers=headers)), 413)


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        (b"gzip", gzip.compress(b"[1]", mtime=0), 200),
        (b"deflate", zlib.compress(b"[1]"), 200),
        (b"identity", b"[1]", 200),
        (b"gzip", b"[1]", 400),
        (b"gzip", gzip.compress(b"[1]", mtime=0)[:-5], 400),
        (b"gzip", gzip.compress(b"[1]", mtime=0) + b"more", 400),
        (b"br", b"[1]", 415),
        (b"gzip, gzip", gzip.compress(gzip.compress(b"[1]", mtime=0), mtime=0), 415),
    ],
)
def test_row_10_a_compressed_body_is_inflated_once(
    server: Server, encoding: bytes, body: bytes, status: int
) -> None:
    headers = HOST + JSON + b"content-encoding: %b\r\n" % encoding
    answer = ask(server, request(body=body, headers=headers))
    assert answer.status == status
    assert status != 200 or answer.body == b"[1]"


SMUGGLED = {
    "two lengths": b"content-length: 3\r\ncontent-length: 4\r\n\r\n[1] ",
    "length and chunked": b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"transfer-encoding: chunked\r\ntransfer-encoding: chunked, identity\r\n\r\n0",
    "signed length": b"content-length: +3\r\n\r\n[1]",
    "space before the colon": b"content-length : 3\r\n\r\n[1]",
    "bad chunk size": b"transfer-encoding: chunked\r\n\r\n3x\r\n[1]\r\n0\r\n\r\n",
    "bare line feeds in a header": b"x: a\nb\r\n\r\n",
    "two hosts": b"host: evil.example\r\ncontent-length: 3\r\n\r\n[1]",
    "one host twice": b"x: 1\r\nHOST: localhost\r\ncontent-length: 3\r\n\r\n[1]",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_row_11_two_ways_to_read_a_request_are_a_400(server: Server, name: str) -> None:
    head = b"POST /echo HTTP/1.1\r\n" + HOST + JSON
    assert refuses(ask(server, head + SMUGGLED[name]), 400)


def test_row_11_a_request_without_a_host_is_a_400(server: Server) -> None:
    assert refuses(ask(server, request(body=b"[1]", headers=JSON)), 400)
    old = request(body=b"[1]", headers=JSON).replace(b"HTTP/1.1", b"HTTP/1.0")  # had none
    assert ask(server, old).status == 200


def test_row_11_plain_uvicorn_refuses_two_hosts_too(desk: Desk) -> None:
    with plain_uvicorn(desk) as server:
        assert refuses(ask(server, request(body=b"[1]", headers=HOST + HOST + JSON)), 400)


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity", b"gzip", b"xchunked"])
def test_row_11_another_transfer_encoding_is_a_501(server: Server, coding: bytes) -> None:
    head = b"POST /echo HTTP/1.1\r\n" + HOST + JSON + b"transfer-encoding: " + coding
    assert refuses(ask(server, head + b"\r\n\r\n3\r\n[1]\r\n0\r\n\r\n"), 501)


CHUNKED = b"POST /echo HTTP/1.1\r\n" + HOST + JSON + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "trailer",
    [
        b"host: evil.example",
        b"origin: https://evil.example",
        b"content-type: text/plain",
        b"content-encoding: gzip",
        b"x: " + b"a" * 40_000,
    ],
    ids=short,
)
def test_row_11_trailers_of_a_chunked_body_are_no_headers(server: Server, trailer: bytes) -> None:
    data = CHUNKED + b"3\r\n[1]\r\n0\r\n" + trailer + b"\r\n\r\n"
    for parts in ([data], [data[:-20], data[-20:]]):  # before and after the app was called
        answer = ask(server, parts)
        assert (answer.status, answer.body) == (200, b"[1]")


def test_row_11_a_key_in_a_trailer_opens_nothing(tmp_path: Path) -> None:
    key, entry = new_key("ann")
    trailer = b"0\r\nauthorization: Bearer " + key.encode() + b"\r\n\r\n"
    with Server(Desk(tmp_path, keys=[entry]), port=0) as locked:
        assert ask(locked, CHUNKED + b"3\r\n[1]\r\n" + trailer).status == 401


ENDLESS = {
    "a chunk extension": (b"3;a=", b"a" * 10_000),
    "many chunk extensions": (b"3", b";a=b" * 2_500),
    "a trailer": (b"3\r\n[1]\r\n0\r\nx: ", b"a" * 10_000),
    "many trailers": (b"3\r\n[1]\r\n0\r\n", b"x: a\r\n" * 1_500),
    "zeros of a size": (b"", b"0" * 10_000),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_row_12_framing_without_an_end_is_a_400(server: Server, name: str) -> None:
    start, more = ENDLESS[name]
    sent = []

    def endless() -> Iterator[bytes]:
        yield CHUNKED + start
        for number in range(2_000):
            sent.append(number)
            yield more

    assert ask(server, endless()).status in (400, 0)  # 0: closed while it still wrote
    assert len(sent) < 2_000


@pytest.mark.parametrize(
    "behind",
    [b"no HTTP\r\n\r\n", b"GET /read HTTP/1.1\r\nx : 1\r\n\r\n", b"POST / HTTP/1.1\r\n\0"],
    ids=short,
)
@pytest.mark.parametrize("target", ["/echo", "/write"])
def test_row_11_the_requests_before_a_broken_one_are_answered(
    server: Server, target: str, behind: bytes
) -> None:
    body = b'{"prompt": "a"}'
    with connect(server) as client:
        client.sendall(2 * request(target, body) + behind + request("/reset", b"{}"))
        received = b"".join(iter(lambda: client.recv(100_000), b""))
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.endswith((b'{"prompt":"a"}', b"0\r\n\r\n"))


def test_row_58_a_client_of_http_1_0_gets_a_stream_without_chunks(server: Server) -> None:
    with connect(server) as client:
        client.sendall(request("/write", b'{"prompt": "a"}').replace(b"HTTP/1.1", b"HTTP/1.0"))
        received = b"".join(iter(lambda: client.recv(100_000), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith(b"retry: ")
    assert body.endswith(b'data: "a"\n\n')


def test_row_12_500000_chunks_of_a_byte_let_others_be_served(server: Server) -> None:
    body = b"".join(chunked(b"1", 1)).partition(b"1\r\n1\r\n")[0]
    parts = [body, b'1\r\n"\r\n', *[b"1\r\na\r\n" * 10_000] * 50, b'1\r\n"\r\n0\r\n\r\n']
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, server, parts)
        waits = []
        while not answer.done():
            begun = monotonic()
            assert is_well(server)
            waits.append(monotonic() - begun)
            sleep(0.02)
    assert answer.result().status == 200
    assert len(answer.result().body) == 500_002
    assert max(waits) < 2


HEADS = {
    "a header of 100 kB": b"x-a: " + b"a" * 100_000 + b"\r\n",
    "10,000 headers": b"".join(b"x-%d: 1\r\n" % n for n in range(10_000)),
    "101 headers": b"".join(b"x-%d: 1\r\n" % n for n in range(100)),
    "a name of 100 kB": b"x" * 100_000 + b": 1\r\n",
    "one name 90 times": (b"x: " + b"a" * 500 + b"\r\n") * 90,
}


@pytest.mark.parametrize("name", HEADS)
def test_row_13_a_large_head_is_a_431(server: Server, name: str) -> None:
    answer = ask(server, request("/read", headers=HOST + HEADS[name], method="GET"))
    assert refuses(answer, 431)


def test_row_13_a_large_target_is_a_431(server: Server) -> None:
    assert refuses(ask(server, request("/read?name=" + "a" * 50_000, method="GET")), 431)


def test_row_13_a_head_without_an_end_is_a_431(server: Server) -> None:
    def endless() -> Iterator[bytes]:
        yield b"GET /read HTTP/1.1\r\nx: "
        for _ in range(1000):
            yield b"a" * 10_000

    assert ask(server, endless()).status in (431, 0)  # 0: closed while it still wrote


@pytest.mark.parametrize("name", ["a header of 100 kB", "101 headers"])
def test_row_13_a_large_head_behind_another_request_does_not_reach_the_app(
    server: Server, desk: Desk, name: str
) -> None:
    with connect(server) as client, suppress(ConnectionError):
        client.sendall(
            request("/read", method="GET")
            + request("/reset", headers=HOST + HEADS[name], method="POST")
        )
        while client.recv(100_000):
            pass
    assert "reset False" not in desk.ran


@pytest.mark.parametrize("implementation", ["httptools", "h11"])
@pytest.mark.parametrize("name", ["a header of 100 kB", "10,000 headers", "one name 90 times"])
def test_row_13_plain_uvicorn_answers_431_or_400_too(
    desk: Desk, implementation: str, name: str
) -> None:
    desk.ran.clear()
    with plain_uvicorn(desk, implementation) as server:
        answer = ask(server, request("/read", headers=HOST + HEADS[name], method="GET"))
    assert answer.status in (431, 400)
    assert "read" not in desk.ran


HALVES = {
    "nothing": b"",
    "half a line": b"GET /hea",
    "half a head": b"POST /echo HTTP/1.1\r\nhost: local",
    "no body": request(length=100),
    "half a body": request(body=b"[1, 2", length=100),
    "half a chunk": b"POST /echo HTTP/1.1\r\n"
    + HOST
    + JSON
    + b"transfer-encoding: chunked\r\n\r\n5\r\n[1",
    "empty lines": b"\r\n\r\n",
}


@pytest.fixture
def soft_limit() -> Iterator[None]:
    """Enough descriptors for both ends of 200 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("soft_limit")
@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
def test_row_14_half_sent_requests_are_closed_and_health_is_up(tmp_path: Path) -> None:
    app = Desk(tmp_path, limits=Limits(receive_seconds=1.0))
    halves = list(HALVES.values())
    with Server(app, port=0) as server:
        clients = [connect(server) for _ in range(200)]
        for n, client in enumerate(clients):
            client.sendall(halves[n % len(halves)])
        drip = clients.pop()
        ends = monotonic() + SECONDS
        statuses = []
        for client in clients:
            statuses.append(read_answer(client).status)
            client.close()
            assert monotonic() < ends
        assert set(statuses) == {408}
        assert is_well(server)
        drip.close()
        until(lambda: len(server._uvicorn.server_state.connections) == 0)


def test_row_14_a_byte_now_and_then_does_not_help(tmp_path: Path) -> None:
    app = Desk(tmp_path, limits=Limits(receive_seconds=0.5))
    with Server(app, port=0) as server, connect(server) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\n")
        client.settimeout(0.05)
        ends = monotonic() + SECONDS
        answer = b""
        while not answer:
            assert monotonic() < ends
            client.sendall(b"x: 1\r\n")
            try:
                answer = client.recv(10_000)
            except TimeoutError:
                continue
    assert b"408" in answer


def test_row_14_a_slow_body_that_moves_and_a_slow_answer_are_not_cut(tmp_path: Path) -> None:
    app = Desk(tmp_path, limits=Limits(receive_seconds=0.5))
    go = threading.Event()
    app.post("/slow")(lambda value: go.wait(SECONDS))
    with Server(app, port=0) as server:
        with connect(server) as client:  # 1 MB at more than 4 KiB per second
            client.sendall(request(body=b'"', length=100_002))
            for _ in range(10):
                sleep(0.1)
                client.sendall(b"a" * 10_000)
            client.sendall(b'"')
            assert read_answer(client).status == 200
        with connect(server) as client:
            client.sendall(request("/slow", b"1"))
            sleep(1.2)
            go.set()
            assert read_answer(client).status == 200


def test_row_15_a_client_that_reads_nothing_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SEND_SECONDS", 0.5)
    app = Desk(tmp_path)
    made = []

    @app.ml_stream("/flood")
    def flood() -> Iterator[str]:
        made.append(0)
        while True:
            made[-1] += 1
            yield "x" * 100_000

    with Server(app, port=0) as server, connect(server) as slow:
        slow.sendall(request("/flood", method="GET"))
        until(lambda: made and not app.open_streams)
        assert is_well(server)
        assert made[0] * 100_000 < 64 * MEGABYTE
        with connect(server) as other:
            other.sendall(request("/write?prompt=hello", method="GET"))
            with other.makefile("rb") as lines:
                assert any(b"hello" in line for line in lines)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/echo", 405),
        ("PUT", "/echo", 405),
        ("DELETE", "/read", 405),
        ("POST", "/healthz", 405),
        ("GET", "/nothing", 404),
        ("POST", "/", 405),
        ("OPTIONS", "/nothing", 404),
    ],
)
def test_row_16_another_method_or_path(
    server: Server, method: str, target: str, status: int
) -> None:
    answer = ask(server, request(target, method=method))
    assert refuses(answer, status)
    assert (status == 405) == ("allow" in answer.headers)
    assert "/typed" not in answer.body.decode()  # no list of the endpoints


TRICKS = [
    "/../etc/passwd",
    "/..%2f..%2fetc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/echo/../read",
    "/%00",
    "/read%00",
    "/read%0d%0ax-evil:%201",
    "/" + "a" * 5000,
    "//read",
    "/read;a=1",
    "/%ff%fe",
    "/%c0%ae%c0%ae/",
    "/.",
]


@pytest.mark.parametrize("target", TRICKS, ids=short)
def test_row_17_path_tricks_find_nothing(server: Server, desk: Desk, target: str) -> None:
    answer = ask(server, request(target, method="GET"))
    assert answer.status in (404, 400)
    assert "x-evil" not in answer.headers
    assert desk.ran == []
    json.loads(answer.body)


NOT_UTF8 = ["/in/%ff", "/in/%c3", "/in/a%ed%a0%80", "/in/%fe/x", "/read?name=%ff", "/read?%c3=1"]


@pytest.mark.parametrize("target", NOT_UTF8)
@pytest.mark.parametrize("is_plain", [False, True])
def test_row_17_a_target_that_is_not_utf_8_is_a_400(
    desk: Desk, server: Server, target: str, is_plain: bool
) -> None:
    with plain_uvicorn(desk) if is_plain else nullcontext(server) as asked:
        assert refuses(ask(asked, request(target, method="GET")), 400)
    assert desk.ran == []


def test_row_17_a_replacement_character_sent_as_such_is_taken(server: Server) -> None:
    answer = ask(server, request("/read?name=%EF%BF%BD", method="GET"))
    assert (answer.status, json.loads(answer.body)) == (200, "\ufffd")
    assert ask(server, request("/in/%EF%BF%BD", method="GET")).status == 404
