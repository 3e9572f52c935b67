"""Every error has a status, a short type, a message that helps, and a request ID."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from conduit_lab import App, Lab
from conduit_lab.serving.limits import Limits
from tests.serving.conftest import Ask

JSON = {"content-type": "application/json"}


@pytest.fixture
def echo(app: App) -> App:
    @app.post("/echo")
    def echo(value: Any) -> Any:
        return {"got": value}

    @app.post("/typed")
    def typed(text: str) -> str:
        return text

    return app


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"{",
        b'{"a": 1} trailing',
        b"[1][2]",
        b'"\xff\xfe"',
        '"text"'.encode("utf-16"),
        b'"\xed\xa0\x80"',
        b"NaN",
        b"[Infinity]",
        b"{'a': 1}",
        b'{"a": 1,}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
        b"\x00",
        b'"\x00"',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_not_json_is_a_400(echo: App, asking: Ask, body: bytes) -> None:
    answer = asking(echo).post("/echo", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "bad_input"


def test_the_error_of_an_empty_body_says_so(echo: App, asking: Ask) -> None:
    answer = asking(echo).post("/echo", content=b"", headers=JSON)
    assert answer.json()["error"]["message"] == "the body is empty: expected JSON"


def test_an_escaped_lone_surrogate_is_never_a_5xx(echo: App, asking: Ask) -> None:
    client = asking(echo)
    for path, body in (
        ("/echo", rb'"\ud800"'),
        ("/typed", rb'{"text": "a\udfff"}'),
        ("/echo", rb'{"\ud800": 1}'),
    ):
        assert client.post(path, content=body, headers=JSON).status_code in (200, 400)


def test_surrogates_that_make_a_pair_are_one_character(echo: App, asking: Ask) -> None:
    answer = asking(echo).post("/echo", content=rb'"\ud83d\ude00"', headers=JSON)
    assert answer.json() == {"got": "\N{GRINNING FACE}"}


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"]
)
def test_a_body_that_is_not_declared_as_json_is_a_415(echo: App, asking: Ask, kind: str) -> None:
    answer = asking(echo).post("/echo", content=b"1", headers={"content-type": kind})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"]
)
def test_every_way_to_declare_json_is_taken(echo: App, asking: Ask, kind: str) -> None:
    assert asking(echo).post("/echo", content=b"1", headers={"content-type": kind}).json() == {
        "got": 1
    }


def test_an_unknown_path_of_a_served_app_is_a_404_that_names_no_endpoint(
    echo: App, asking: Ask
) -> None:
    answer = asking(echo).post("/nope", json=1)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "nothing is served at this path"


def test_an_unknown_path_of_a_lab_is_a_404_that_lists_its_endpoints(lab: Lab, asking: Ask) -> None:
    lab.post("/echo")(lambda value: value)
    answer = asking(lab).post("/nope", json=1)
    assert "this app has POST /echo" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/echo/", "/healthz/"])
def test_a_trailing_slash_is_a_404_with_the_right_path(echo: App, asking: Ask, path: str) -> None:
    answer = asking(echo).post(path, json=1, follow_redirects=False)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].endswith(f"; {path[:-1]} is")


@pytest.mark.parametrize(
    "path", ["/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/%00", "/" + "a" * 5000, "//echo"]
)
def test_path_tricks_are_a_404(echo: App, asking: Ask, path: str) -> None:
    assert asking(echo).get(path).status_code == 404


def test_another_method_is_a_405_with_allow(echo: App, asking: Ask) -> None:
    answer = asking(echo).get("/echo")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["error"]["message"] == "this path does not support GET: use POST"


def test_allow_names_every_method_of_the_path(echo: App, asking: Ask) -> None:
    @echo.get("/echo")
    def read() -> str:
        return "read"

    answer = asking(echo).delete("/echo")
    assert answer.status_code == 405
    assert {"GET", "POST"} <= {method.strip() for method in answer.headers["allow"].split(",")}


def test_each_error_carries_its_request_id_in_the_header_too(echo: App, asking: Ask) -> None:
    client = asking(echo)
    answers = [
        client.post("/echo", content=b"{", headers=JSON),
        client.post("/echo", content=b"1", headers={"content-type": "text/plain"}),
        client.get("/nope"),
        client.get("/echo"),
    ]
    for answer in answers:
        assert answer.headers["x-request-id"] == answer.json()["error"]["request_id"]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4


def test_a_declared_length_over_the_limit_is_a_413_before_the_body(app: App, asking: Ask) -> None:
    app.limits = Limits(body_bytes=100)
    app.post("/echo")(lambda value: value)
    answer = asking(app).post(
        "/echo", content=b"1", headers={**JSON, "content-length": str(100 * 2**30)}
    )
    assert answer.status_code == 413
    assert "100 bytes" in answer.json()["error"]["message"]


def test_a_body_of_exactly_the_limit_is_taken(app: App, asking: Ask) -> None:
    app.limits = Limits(body_bytes=100)
    app.post("/size")(lambda value: len(value))
    client = asking(app)
    assert client.post("/size", content=b'"' + b"a" * 98 + b'"', headers=JSON).json() == 98
    assert client.post("/size", content=b'"' + b"a" * 99 + b'"', headers=JSON).status_code == 413


async def _never_ending(read: list[int]) -> Any:
    while True:
        read.append(1000)
        yield b"a" * 1000


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_a_chunked_body_is_a_413_as_soon_as_it_passes_the_limit(
    app: App, anyio_backend: str
) -> None:
    app.limits = Limits(body_bytes=10_000)
    app.post("/echo")(lambda value: value)
    read: list[int] = []
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post("/echo", content=_never_ending(read), headers=JSON)
    assert answer.status_code == 413
    assert sum(read) <= 12_000


def test_what_a_handler_raises_stays_in_the_log_under_the_request_id(
    app: App, asking: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    @app.post("/fail")
    def fail() -> None:
        raise RuntimeError("password is hunter2")

    with caplog.at_level(logging.ERROR, "conduit_lab"):
        answer = asking(app).post("/fail")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    error = answer.json()["error"]
    (record,) = [r for r in caplog.records if error["request_id"] in r.getMessage()]
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])


def test_an_answer_without_a_json_form_is_a_500_and_not_a_broken_body(
    app: App, asking: Ask
) -> None:
    app.post("/object")(lambda: object())
    answer = asking(app).post("/object")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "internal"


def test_a_key_error_and_a_value_error_of_the_handler_are_not_the_callers_fault(
    app: App, asking: Ask
) -> None:
    @app.post("/value")
    def value(text: str) -> int:
        return int(text)

    client = asking(app)
    assert client.post("/value", json={"text": "x"}).status_code == 500
    assert client.post("/value", json={"text": "5"}).json() == 5


def test_an_app_goes_on_after_errors(echo: App, asking: Ask) -> None:
    client = asking(echo)

    def attempts() -> Iterator[int]:
        yield client.post("/echo", content=b"{", headers=JSON).status_code
        yield client.post("/typed", json={"text": 1}).status_code
        yield client.get("/nope").status_code

    assert list(attempts()) == [400, 400, 404]
    assert client.post("/echo", json=1).json() == {"got": 1}
