"""A request that fails raises the package's own exceptions, with message, hint and request ID."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from conduit_lab import RemoteApp, connect
from conduit_lab.client.answer_errors import answer_error
from conduit_lab.core.errors import (
    ConduitError,
    DeadlineExceeded,
    InputError,
    Overloaded,
    RemoteDeadlineExceeded,
    RemoteError,
    RemoteInputError,
    RemoteUnknownName,
    RemoteUnreachable,
    UnknownName,
)
from tests.client.conftest import SECONDS, Connect


def test_a_mistake_of_the_caller(remote: RemoteApp) -> None:
    with pytest.raises(InputError) as caught:
        remote.typed("many", "a")
    error = caught.value
    assert isinstance(error, RemoteInputError)
    assert (error.status, error.kind) == (400, "bad_input")
    assert str(error).startswith("POST /typed/a: n: expected a valid integer")
    assert str(error).endswith(f"(request {error.request_id})")


def test_a_fault_of_the_server_keeps_its_reason(remote: RemoteApp) -> None:
    with pytest.raises(RemoteError) as caught:
        remote.broken()
    assert type(caught.value) is RemoteError
    assert caught.value.status == 500
    assert "secret" not in str(caught.value)
    assert caught.value.request_id in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InputError),
        (413, InputError),
        (415, InputError),
        (404, UnknownName),
        (410, UnknownName),
        (408, DeadlineExceeded),
        (504, DeadlineExceeded),
        (429, Overloaded),
        (401, RemoteError),
        (403, RemoteError),
        (503, RemoteError),
        (302, RemoteError),
    ],
)
def test_each_status_has_its_exception(status: int, kind: type[ConduitError]) -> None:
    facts = {"message": "no", "type": "reason", "hint": "wait a little", "request_id": "abc"}
    error = answer_error(status, json.dumps({"error": facts}).encode(), "", "GET /a")
    assert isinstance(error, kind)
    assert isinstance(error, RemoteError)
    assert (error.status, error.kind, error.hint) == (status, "reason", "wait a little")
    assert str(error).startswith("GET /a: no: wait a little (request abc)")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>\n<h1>Bad gateway</h1>", b"[]", b'{"error": "x"}', b"\xff\xfe", b"[" * 10**5],
)
def test_an_answer_of_a_proxy_is_shown_in_a_line(body: bytes) -> None:
    error = answer_error(502, body, "from-header", "GET /a")
    assert len(str(error)) < 400
    assert "\n" not in str(error)
    assert error.request_id == "from-header"


def test_a_server_that_is_not_there(connecting: Connect) -> None:
    with pytest.raises(RemoteUnreachable, match=r"no whole answer from http://127\.0\.0\.1:9:"):
        connecting("http://127.0.0.1:9")
    assert issubclass(RemoteUnreachable, ConnectionError)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "ftp://host/",
        "http://",
        "http://user:pa55word@host",
        "http://host/?key=pa55word",
        "http://host:port",
        "",
        7,
    ],
)
def test_an_address_that_is_none_is_refused_and_never_shown(url: Any) -> None:
    with pytest.raises(InputError, match="expects an address such as") as caught:
        connect(url)
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_is_a_number_of_seconds(timeout: float) -> None:
    with pytest.raises(InputError, match="timeout= expected seconds above 0"):
        connect("http://127.0.0.1:9", timeout=timeout)


class _Page(BaseHTTPRequestHandler):
    """Answers every GET with `status` and `body`."""

    status = 200
    body = b"{}"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("content-length", str(len(self.body)))
        self.send_header("location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def page() -> Iterator[tuple[str, type[_Page]]]:
    handler = type("Handler", (_Page,), {})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        answering = threading.Thread(target=server.serve_forever, args=(0.01,))
        answering.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        answering.join(SECONDS)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>", "expected a JSON answer .* is this the address of a conduit_lab app"),
        (200, b"{}", "is not that of a conduit_lab app"),
        (200, b"[]", "is not that of a conduit_lab app"),
        (200, b'{"info": {"title": "other"}}', "is not that of a conduit_lab app"),
        (302, b"", r"GET /openapi.json: the server gave no reason \[302\]"),
    ],
)
def test_other_servers_are_named(page: Any, status: int, body: bytes, words: str) -> None:
    url, handler = page
    handler.status, handler.body = status, body
    with pytest.raises(RemoteError, match=words):
        connect(url)


@pytest.mark.parametrize(
    "paths",
    [
        [],
        {"/a": []},
        {"/a": {"post": {"x-conduit-endpoint": 1}}},
        {"/a": {"post": {"x-conduit-endpoint": {"name": 5, "method": "POST"}}}},
        {"/a": {"get": {"x-conduit-endpoint": {"name": "a", "method": "POST"}}}},
    ],
)
def test_operations_of_other_kinds_are_left_out(page: Any, paths: Any) -> None:
    url, handler = page
    own = {"info": {"title": "x", "x-conduit-lab": {}}, "paths": paths, "stores": 1}
    handler.body = json.dumps(own | {"stores": []}).encode()
    with connect(url) as remote:
        assert remote.endpoints == []


def test_no_answer_in_time(remote: RemoteApp, connecting: Connect) -> None:
    slow = connecting(remote.url, timeout=0.3)
    with pytest.raises(RemoteDeadlineExceeded, match=r"no answer from .* in 0\.3 s") as caught:
        slow.wait_for_go()
    assert isinstance(caught.value, TimeoutError)


def test_the_models_of_an_app_are_a_table(page: Any) -> None:
    url, handler = page
    models = [
        {"name": "topic", "kind": "Model", "device": "cpu", "bytes": 2_000, "hash": "ab" * 32},
        {"name": "writer", "kind": "Generator", "device": None, "bytes": None, "hash": None},
        "no model",
    ]
    info = {"title": "x", "x-conduit-lab": {}}
    handler.body = json.dumps({"info": info, "stores": [], "models": models}).encode()
    with connect(url) as remote:
        assert remote.models == models[:2]
        text = repr(remote.models)
    assert "topic   Model" in text
    assert "1.95 KB" in text
    assert "abababababababa…" in text
    assert "writer  Generator  not open" in text


def test_an_app_that_does_not_list_its_models(page: Any) -> None:
    url, handler = page
    handler.body = b'{"info": {"title": "x", "x-conduit-lab": {}}, "stores": []}'
    with connect(url) as remote:
        handler.status = 404
        with pytest.raises(RemoteUnknownName, match="does not list its models: it has no /v1/info"):
            _ = remote.models
