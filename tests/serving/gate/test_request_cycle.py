"""One connection as `BoundedHttp` serves it: what an ASGI app sends, and what goes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from conduit_lab import App
from tests.serving.asgi import Message
from tests.serving.conftest import SECONDS
from tests.serving.gate.connection import Client, Wire

GET = b"GET /a?b=1 HTTP/1.1\r\nhost: here\r\n\r\n"
HOME = b"GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n"
START = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"hello"}
LENGTH = {**START, "headers": [(b"content-length", b"5")]}
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def sending(*messages: Message) -> Any:
    """Return an app that sends these messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(dict(message))

    return app


def answer(*messages: Message, request: bytes = GET, **options: Any) -> tuple[bytes, Wire]:
    """Return the answer of an app that sends these messages, and the wire."""

    async def main() -> tuple[bytes, Wire]:
        client = Client(sending(*messages), **options)
        return await client.ask(request), client.wire

    return asyncio.run(main())


def test_the_head_goes_out_with_the_start_of_the_body() -> None:
    sent, wire = answer(LENGTH, BODY)
    assert sent == HELLO
    assert len(wire.writes) == 1
    assert not wire.closed


def test_a_body_without_a_length_is_chunked() -> None:
    sent, _ = answer(START, {**BODY, "more_body": True}, {**BODY, "body": b"", "more_body": True})
    assert sent.startswith(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    sent, _ = answer(START, {**BODY, "more_body": True}, BODY)
    assert sent.endswith(b"\r\n\r\n5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_is_not_chunked(status: int) -> None:
    sent, wire = answer({**START, "status": status}, {"type": "http.response.body"})
    assert sent.startswith(b"HTTP/1.1 %d " % status)
    assert sent.endswith(b"\r\n\r\n")
    assert b"chunked" not in sent
    assert not wire.closed


def test_the_answer_to_a_head_request_has_no_body() -> None:
    sent, wire = answer(LENGTH, BODY, request=GET.replace(b"GET", b"HEAD"))
    assert sent == HELLO.removesuffix(b"hello")
    assert not wire.closed


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a", b"1\r\nset-cookie: a=b"),
        (b"x-a", b"1\n"),
        (b"x-a", b"\x00"),
        (b"x-a", b"\x7f"),
        (b"x a", b"1"),
        (b"x\r\na", b"1"),
        (b"x:a", b"1"),
        (b"content-length", b"5\r\nx: y"),
        (b"content-length", b"five"),
    ],
)
def test_a_header_that_http_does_not_allow_is_a_500(header: tuple[bytes, bytes]) -> None:
    for _ in range(2):  # a name is checked the second time too
        sent, wire = answer({**START, "headers": [(b"x-b", b"2"), header]}, BODY)
        assert sent.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert b"x-b" not in sent
        assert wire.closed


def test_headers_of_any_case_keep_their_meaning() -> None:
    headers = [(b"Content-Length", b"5"), (b"X-Text", "ü\t1".encode("latin-1"))]
    sent, _ = answer({**START, "headers": headers}, BODY)
    assert sent.endswith(b"\r\ncontent-length: 5\r\nx-text: \xfc\t1\r\n\r\nhello")


@pytest.mark.parametrize("body", [b"hello!", b"hell"])
def test_a_body_of_another_length_ends_the_connection(body: bytes) -> None:
    sent, wire = answer(LENGTH, {**BODY, "body": body})
    assert body not in sent
    assert wire.closed


@pytest.mark.parametrize(
    "messages", [[BODY], [START, START], [LENGTH, BODY, BODY], [{"type": "http.nothing"}]]
)
def test_a_message_out_of_place_is_an_error_of_the_app(
    messages: list[Message], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        _, wire = answer(*messages)
    assert wire.closed
    assert "Exception in ASGI application" in caplog.text


def test_an_app_that_does_not_answer_is_a_500() -> None:
    sent, wire = answer()
    assert sent.startswith(b"HTTP/1.1 500 ")
    assert wire.closed
    sent, wire = answer(LENGTH)  # half an answer
    assert not sent
    assert wire.closed


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        (GET, False),
        (GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), True),
        (GET.replace(b"HTTP/1.1", b"HTTP/1.0"), True),
    ],
)
def test_a_connection_is_kept_unless_the_request_says_otherwise(
    request_: bytes, closes: bool
) -> None:
    sent, wire = answer(LENGTH, BODY, request=request_)
    assert wire.closed == closes
    assert (b"\r\nconnection: close\r\n" in sent) == closes


def test_an_app_may_close_the_connection() -> None:
    headers = [(b"content-length", b"5"), (b"Connection", b"x, Close")]
    sent, wire = answer({**START, "headers": headers}, BODY)
    assert wire.closed
    assert sent.lower().count(b"close") == 1


def test_every_answer_has_the_headers_of_the_server() -> None:
    async def main() -> None:
        client = Client(sending(LENGTH, BODY))
        for second in (b"1", b"2"):
            client.server.default_headers = [(b"date", second), (b"server", b"here")]
            head = b"HTTP/1.1 200 OK\r\ndate: %b\r\nserver: here\r\n" % second
            assert await client.ask(GET) == head + HELLO.partition(b"\r\n")[2]

    asyncio.run(main())


Seen = list[Any]


def reading(seen: Seen, most: int = 10**9) -> Callable[..., Awaitable[None]]:
    """Return an app that reads the body up to a size, and answers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        size, more = 0, True
        while more and size < most:
            message = await receive()
            seen.append(message)
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send(dict(LENGTH))
        await send(dict(BODY))

    return app


def test_the_scope_is_that_of_asgi() -> None:
    seen: Seen = []

    async def main() -> None:
        client = Client(reading(seen), root_path="/shop")
        await client.ask(b"GET /a%20b/%C3%BC?c=d%20e HTTP/1.1\r\nHost: Here\r\nX-A: 1\r\n\r\n")

    asyncio.run(main())
    scope = seen[0]
    assert scope["method"] == "GET"
    assert scope["path"] == "/shop/a b/ü"
    assert scope["raw_path"] == b"/shop/a%20b/%C3%BC"
    assert scope["query_string"] == b"c=d%20e"
    assert scope["headers"] == [(b"host", b"Here"), (b"x-a", b"1")]
    assert scope["client"] == ("127.0.0.1", 5)
    assert scope["http_version"] == "1.1"


def test_a_proxy_names_the_client() -> None:
    seen: Seen = []

    async def main() -> None:
        client = Client(reading(seen))
        proxied = b"\r\nx-forwarded-for: 9.8.7.6\r\nx-forwarded-proto: https\r\n\r\n"
        await client.ask(GET.replace(b"\r\n\r\n", proxied))
        await client.ask(GET)

    asyncio.run(main())
    scopes = [each for each in seen if each["type"] == "http"]
    assert [each["client"][0] for each in scopes] == ["9.8.7.6", "127.0.0.1"]
    assert [each["scheme"] for each in scopes] == ["https", "http"]


def test_a_body_arrives_whole_and_in_parts() -> None:
    seen: Seen = []
    head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 6\r\n\r\n"

    async def main() -> None:
        client = Client(reading(seen))
        await client.ask(head + b"abcdef")
        for part in (head, b"abc", b"def"):
            client.protocol.data_received(part)
            for _ in range(3):
                await asyncio.sleep(0)
        await client.ends()

    asyncio.run(main())
    bodies = [(each["body"], each["more_body"]) for each in seen if each["type"] == "http.request"]
    assert bodies == [(b"abcdef", False), (b"abc", True), (b"def", False)]


def test_reading_pauses_while_the_app_takes_nothing() -> None:
    head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 200000\r\n\r\n"

    async def main() -> None:
        seen: Seen = []
        client = Client(reading(seen))
        client.protocol.data_received(head + b"a" * 100_000)
        assert client.wire.reading_paused
        for _ in range(5):
            await asyncio.sleep(0)
        assert not client.wire.reading_paused  # the app waits for the rest
        client.protocol.data_received(b"a" * 100_000)
        assert not client.wire.reading_paused
        await client.ends()
        assert client.wire.sent == HELLO

    asyncio.run(main())


def test_a_client_that_asks_first_is_told_to_continue_once_the_app_reads() -> None:
    head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 3\r\nexpect: 100-Continue\r\n\r\n"

    async def main() -> None:
        client = Client(reading([]))
        client.protocol.data_received(head)
        assert not client.wire.writes
        for _ in range(3):
            await asyncio.sleep(0)
        assert client.wire.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await client.ask(b"abc") == HELLO

    asyncio.run(main())
    sent, _ = answer(LENGTH, BODY, request=head)
    assert sent == HELLO


def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/1":
            await asyncio.sleep(0)
        await send({**START, "headers": [(b"content-length", b"2")]})
        await send({**BODY, "body": scope["path"].encode()})

    async def main() -> None:
        client = Client(app)
        sent = await client.ask(
            b"".join(b"GET /%d HTTP/1.1\r\nhost: here\r\n\r\n" % n for n in (1, 2, 3))
        )
        bodies = [each[:2] for each in sent.split(b"\r\n\r\n")[1:]]
        assert bodies == [b"/1", b"/2", b"/3"]
        assert not client.wire.reading_paused

    asyncio.run(main())


def test_the_answer_in_progress_ends_with_its_connection() -> None:
    seen: Seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append(scope["path"])
        seen.append((await receive())["type"])
        await send(dict(LENGTH))
        await send(dict(BODY))

    async def main() -> None:
        for pipelined in (False, True):
            seen.clear()
            client = Client(app)
            client.protocol.data_received(GET + GET * pipelined)
            for _ in range(3):
                await asyncio.sleep(0)
            client.wire.close()
            client.protocol.connection_lost(None)
            await client.ends()
            assert seen == ["/a", "http.disconnect"]
            assert not client.wire.sent

    asyncio.run(main())


@pytest.mark.parametrize("pipelined", [False, True])
def test_the_work_for_a_client_that_leaves_is_cancelled_at_once(pipelined: bool) -> None:
    log: list[str] = []
    app = App("desk")

    @app.get("/a")
    async def slow() -> None:
        log.append("began")
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def main() -> None:
        client = Client(app)
        client.protocol.data_received(HOME + HOME * pipelined)
        async with asyncio.timeout(SECONDS):
            while not log:
                await asyncio.sleep(0)
        client.wire.close()
        client.protocol.connection_lost(None)
        await client.ends()

    asyncio.run(main())
    assert log == ["began", "cancelled"]


def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await sending(LENGTH, BODY)(scope, receive, send)

    async def main() -> None:
        client = Client(app, timeout_keep_alive=0)
        client.protocol.data_received(GET)
        client.protocol._check()
        assert not client.wire.closed
        go.set()
        await client.ends()
        client.protocol._check()
        assert client.wire.closed
        other = Client(app)
        await other.ask(GET)
        other.protocol._check()  # idle, for less than 5 s
        assert not other.wire.closed

    asyncio.run(main())


def test_the_access_log_of_uvicorn_is_written(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "uvicorn.access"):
        answer(LENGTH, BODY)
    assert '127.0.0.1:5 - "GET /a' in caplog.text  # an app hides the queries
    assert ' HTTP/1.1" 200' in caplog.text


def test_too_many_requests_at_once_are_a_503() -> None:
    sent, _ = answer(LENGTH, BODY, limit_concurrency=1)
    assert sent.startswith(b"HTTP/1.1 503 ")
