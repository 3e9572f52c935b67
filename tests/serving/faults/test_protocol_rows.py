"""The rows on the routes of every protocol: the same statuses, in the form of that protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conduit_lab.serving.faces.protocols import PROTOCOLS
from conduit_lab.serving.gate.keys import new_key
from conduit_lab.serving.run.thread import Server
from tests.serving.faults.conftest import Desk
from tests.serving.faults.raw import HOST, JSON, Answer, ask, is_well, request

SECRET, KEY = new_key("ann")
BEARER = f"authorization: Bearer {SECRET}\r\n".encode()


def openai_form(error: dict[str, Any]) -> bool:
    return set(error["error"]) >= {"message", "type", "param", "code"}


def anthropic_form(error: dict[str, Any]) -> bool:
    return error["type"] == "error" and set(error["error"]) >= {"type", "message"}


def inference_form(error: dict[str, Any]) -> bool:
    return isinstance(error["error"], str)


def mcp_form(error: dict[str, Any]) -> bool:
    return error["jsonrpc"] == "2.0" and isinstance(error["error"]["code"], int)


def own_form(error: dict[str, Any]) -> bool:
    return set(error["error"]) >= {"status", "type", "message", "request_id"}


FORMS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "/v1/chat/completions": openai_form,
    "/v1/completions": openai_form,
    "/v1/embeddings": openai_form,
    "/v1/responses": openai_form,
    "/v1/rerank": openai_form,
    "/v1/messages": anthropic_form,
    "/v1/messages/count_tokens": anthropic_form,
    "/v2/models/x/infer": inference_form,
    "/mcp": mcp_form,
    "/v1/stores/x/search": own_form,
}
ACCEPT = b"accept: application/json, text/event-stream\r\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    app = Desk(tmp_path_factory.mktemp("all"), protocols=list(PROTOCOLS), keys=[KEY])
    with Server(app, port=0) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    yield running
    assert is_well(running, BEARER)


def of(path: str, answer: Answer, *statuses: int) -> bool:
    """Return whether an answer is an error of one of the statuses, in the form of its protocol."""
    text = answer.body.decode()
    leaks = [
        word for word in ("Traceback", "site-packages", "/work", ".py", "orjson") if word in text
    ]
    return answer.status in statuses and not leaks and FORMS[path](json.loads(text))


@pytest.mark.parametrize("path", FORMS)
def test_rows_66_67_69_a_stranger_gets_the_form_of_the_protocol(server: Server, path: str) -> None:
    evil = JSON + ACCEPT + BEARER
    assert of(path, ask(server, request(path, b"{}", b"host: evil.example\r\n" + evil)), 421)
    assert of(
        path, ask(server, request(path, b"{}", HOST + evil + b"origin: http://evil\r\n")), 403
    )
    answer = ask(server, request(path, headers=HOST + JSON + ACCEPT, length=9_000_000))
    assert of(path, answer, 401)


BODIES = {
    "row 1, empty": b"",
    "row 1, no JSON": b"not json",
    "row 1, trailing text": b"{} {}",
    "row 2, null": b"null",
    "row 2, list": b"[1]",
    "row 2, text": b'"text"',
    "row 3, no UTF-8": b'{"model": "\xff"}',
    "row 3, UTF-16": '{"model": "x"}'.encode("utf-16"),
    "row 5, deep": b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "row 5, just too deep": b'{"model":' + b"[" * 700 + b"]" * 700 + b"}",
    "row 6, NaN": b'{"model": NaN}',
    "row 7, 10,000 digits": b'{"model": "x", "n": ' + b"9" * 10_000 + b"}",
    "row 2, foreign object": b'{"id": [], "method": 5, "params": 7, "jsonrpc": "2.0"}',
    "row 4, surrogate": rb'{"model": "\ud800", "prompt": "\udfff"}',
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", FORMS)
def test_rows_1_to_7_hostile_bodies_are_a_4xx(server: Server, path: str, name: str) -> None:
    answer = ask(server, request(path, BODIES[name], HOST + JSON + ACCEPT + BEARER))
    assert of(path, answer, 400, 404, 422), (answer.status, answer.body[:200])


@pytest.mark.parametrize("path", FORMS)
def test_rows_9_and_68_length_and_type(server: Server, path: str) -> None:
    head = HOST + ACCEPT + BEARER
    assert of(path, ask(server, request(path, headers=head + JSON, length=100 * 2**30)), 413, 404)
    plain = head + b"content-type: text/plain\r\n"
    assert of(path, ask(server, request(path, b"{}", plain)), 415, 400, 404)
