"""The gate: one ID per request, on every answer, and one place for the errors of faces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from conduit_lab import App
from conduit_lab.core.progress import Progress, progress
from conduit_lab.serving.faces import values
from conduit_lab.serving.gate.context import context_of
from tests.serving.asgi import ask
from tests.serving.conftest import Ask


def test_every_answer_has_an_id_of_its_own(app: App, asking: Ask) -> None:
    app.post("/echo")(lambda value: value)
    app.get("/fail")(lambda: 1 / 0)
    app.ml_stream("/count", resume=5)(lambda: iter([1]))
    client = asking(app)
    stream = client.get("/count")
    stream_id = stream.text.partition("id: ")[2].partition(":")[0]
    end = {"last-event-id": f"{stream_id}:0"}
    answers = [
        client.get("/healthz"),
        client.get("/readyz"),
        client.post("/echo", json=1),
        client.get("/fail"),
        client.get("/nope"),
        client.get("/echo"),
        client.post("/echo/", json=1, follow_redirects=False),
        client.head("/count"),
        client.get("/count", headers=end),
        stream,
    ]
    assert [each.status_code for each in answers] == [
        *(200, 200, 200, 500, 404),
        *(405, 404, 200, 204, 200),
    ]
    ids = [each.headers.get_list("x-request-id") for each in answers]
    assert all(len(each) == 1 and len(each[0]) == 16 for each in ids)
    assert len({each[0] for each in ids}) == len(answers)


def test_a_face_finds_the_context_of_the_request(
    app: App, asking: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.post("/echo")(lambda value: value)
    seen = []
    answer_request = values._ValueFace.__call__

    async def watched(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        seen.append((context.id, context.app, context.started))
        await answer_request(self, scope, receive, send)
        seen.append((context.id, context.app, context.started))

    monkeypatch.setattr(values._ValueFace, "__call__", watched)
    answer = asking(app).post("/echo", json=1)
    request_id = answer.headers["x-request-id"]
    assert seen == [(request_id, app, False), (request_id, app, True)]


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_starlette_error_of_a_handler_is_a_fault_of_the_server(
    app: App, asking: Ask, status: int
) -> None:
    @app.post("/fail")
    def fail() -> None:
        raise HTTPException(status, "hunter2")

    answer = asking(app).post("/fail")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "internal")


def test_an_app_mounted_in_another_one_answers_its_own_errors(app: App) -> None:
    app.post("/echo")(lambda value: value)
    outer = TestClient(Starlette(routes=[Mount("/api", app), Route("/one", app)]))
    assert outer.post("/api/echo", json=1).json() == 1
    for method, path, status in (
        ("GET", "/api/nope", 404),
        ("GET", "/one", 404),
        ("GET", "/api/echo", 405),
    ):
        answer = outer.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


def test_the_clients_mistakes_are_not_logged(
    app: App, asking: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    app.post("/typed")(_typed)
    client = asking(app)
    with caplog.at_level(logging.DEBUG, "conduit_lab"):
        assert client.post("/typed", json={"n": "x"}).status_code == 400
        assert client.get("/nope").status_code == 404
    assert not [record for record in caplog.records if record.name == "conduit_lab"]


def _typed(n: int) -> int:
    return n


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_stream_that_breaks_off_is_not_answered_twice(
    app: App, anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    @app.ml_stream("/count")
    def count() -> Iterator[int]:
        yield 1

    def lost(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            raise OSError("connection lost")

    messages = await ask(app, "/count", sent=lost)
    assert [each["type"] for each in messages] == ["http.response.start", "http.response.body"]
    assert "connection lost" in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_websocket_is_refused(app: App, anyio_backend: str) -> None:
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        messages.append(message)

    await app({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert [each["type"] for each in messages] == ["websocket.close"]


def test_a_request_shows_no_progress(app: App, asking: Ask, jobs: list[Progress]) -> None:
    @app.post("/work")
    def work(n: int) -> int:
        with progress(n, "text", "encode"):
            return n

    assert asking(app).post("/work", json={"n": 2}).json() == 2
    assert jobs == []
    work(2)
    assert [job.name for job in jobs] == ["encode"]
