"""The deadline for an answer to start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab import App
from conduit_lab.core.errors import EndpointError
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.limits import Limits
from tests.export.session import Session
from tests.serving.asgi import ask
from tests.serving.conftest import SECONDS, Ask, until

SOON = 0.05


@pytest.fixture
def app(app: App) -> App:
    app.limits = Limits(deadline=SOON)
    return app


def test_an_async_handler_past_the_deadline_is_cancelled(app: App, asking: Ask) -> None:
    cancelled = threading.Event()

    @app.post("/slow")
    async def slow() -> None:
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    answer = asking(app).post("/slow")
    assert answer.status_code == 504
    error = answer.json()["error"]
    assert (error["type"], error["request_id"]) == (
        "deadline_exceeded",
        answer.headers["x-request-id"],
    )
    assert "within 0.05 s" in error["message"]
    assert cancelled.is_set()


def test_a_handler_that_ignores_its_cancellation_is_a_504_too(app: App, asking: Ask) -> None:
    @app.post("/slow")
    async def slow() -> str:
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            return "late"
        return "never"

    assert asking(app).post("/slow").status_code == 504


def test_a_thread_past_the_deadline_is_abandoned_and_ends_by_itself(app: App, asking: Ask) -> None:
    go, ended = threading.Event(), threading.Event()

    @app.post("/slow")
    def slow() -> None:
        assert go.wait(SECONDS)
        ended.set()

    client = asking(app)
    assert client.post("/slow").status_code == 504  # while the thread still waits
    assert not ended.is_set()
    go.set()
    assert ended.wait(SECONDS)
    app.get("/fast")(lambda: 1)
    assert client.get("/fast").json() == 1


def test_an_answer_in_time_is_whole(app: App, asking: Ask) -> None:
    app.limits = Limits(deadline=SECONDS)
    app.post("/echo")(lambda value: value)
    answer = asking(app).post("/echo", json=[1])
    assert (answer.status_code, answer.json()) == (200, [1])


def test_a_stream_that_has_started_may_take_longer(app: App, asking: Ask) -> None:
    @app.ml_stream("/count")
    def count() -> Iterator[int]:
        yield 1
        threading.Event().wait(4 * SOON)
        yield 2

    assert asking(app).post("/count").text.count("data: ") == 2


def test_a_stream_that_comes_too_late_is_cancelled(app: App, asking: Ask) -> None:
    go, made = threading.Event(), []

    def late() -> Stream[int]:
        assert go.wait(SECONDS)
        made.append(Stream(_endless()))
        return made[0]

    app.ml_stream("/late")(late)
    assert asking(app).post("/late").status_code == 504
    go.set()
    until(lambda: made and made[0].state == "cancelled")


def _endless() -> Iterator[int]:
    wait = threading.Event()
    while True:
        yield 1
        wait.wait(0.001)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_body_that_does_not_arrive_is_a_504(app: App, anyio_backend: str) -> None:
    app.post("/echo")(lambda value: value)
    messages: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(SECONDS)

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "POST", "path": "/echo", "headers": []}
    await app(scope, receive, send)
    assert messages[0]["status"] == 504


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_slow_client_of_an_answer_is_not_cut(app: App, anyio_backend: str) -> None:
    app.post("/echo")(lambda value: value)
    app.limits = Limits(deadline=SECONDS)
    messages = await ask(app, "/echo", b"1")
    assert [each["type"] for each in messages] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_a_deadline_that_is_no_time_is_refused(wrong: float) -> None:
    with pytest.raises(EndpointError, match="deadline="):
        Limits(deadline=wrong)


def test_an_exported_app_has_the_deadline(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.lab.limits = Limits(deadline=2.5)
    session.run('@lab.post("/echo")\ndef echo(n: int): return n', "echo(1)")
    assert "deadline=2.5)" in session.source()
