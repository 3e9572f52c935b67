"""Each exception of the package has its status, type and headers; row 61, case 13."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from conduit_lab import App
from conduit_lab.core import errors
from conduit_lab.core.errors import (
    ConduitError,
    DeadlineExceeded,
    InputError,
    ModelLoadError,
    Overloaded,
    StoreError,
)
from tests.serving.conftest import Ask

SECRET = "/srv/models/topic.onnx"
ANSWERS = [
    (InputError("text expects a text"), 400, "bad_input"),
    (Overloaded(SECRET), 429, "overloaded"),
    (DeadlineExceeded(SECRET), 504, "deadline_exceeded"),
    (ModelLoadError(SECRET), 503, "model_unavailable"),
    (StoreError(SECRET), 503, "store_unavailable"),
    (errors.TenantError(SECRET), 404, "not_found"),
    (errors.DeviceError(SECRET), 503, "model_unavailable"),
    (errors.MissingExtra(SECRET, "gpu", "it"), 503, "model_unavailable"),
    (errors.ModelRunError(SECRET), 500, "internal"),
    (errors.UnknownName(SECRET), 500, "internal"),
    (TimeoutError(SECRET), 500, "internal"),
    (KeyError(SECRET), 500, "internal"),
]


@pytest.mark.usefixtures("headers_wait")
@pytest.mark.parametrize(("error", "status", "kind"), ANSWERS, ids=lambda x: type(x).__name__)
def test_an_exception_has_its_status_and_type_from_each_kind_of_endpoint(
    app: App, asking: Ask, error: Exception, status: int, kind: str
) -> None:
    @app.get("/value")
    def value() -> None:
        raise error

    @app.get("/async")
    async def answer() -> None:
        raise error

    @app.ml_stream("/stream")
    def stream() -> Iterator[int]:
        raise error
        yield 1

    @app.ml_stream("/async-stream")
    async def async_stream() -> AsyncIterator[int]:
        raise error
        yield 1

    @app.ml_stream("/returned")
    def returned() -> Any:
        raise error

    client = asking(app)
    for path in ("/value", "/async", "/stream", "/async-stream", "/returned"):
        got = client.get(path)
        assert (got.status_code, got.json()["error"]["type"]) == (status, kind), path
        assert SECRET not in got.text
        assert got.headers.get("retry-after") == ("1" if status == 429 else None)
        assert got.headers["x-request-id"] == got.json()["error"]["request_id"]


def test_an_overloaded_answer_has_a_hint_and_a_bad_input_its_own_words(
    app: App, asking: Ask
) -> None:
    app.get("/full")(_raising(Overloaded("the queue of 'topic' is full")))
    app.get("/bad")(_raising(InputError("text expects a text")))
    client = asking(app)
    assert "retry-after" in client.get("/full").json()["error"]["hint"]
    error = client.get("/bad").json()["error"]
    assert error["message"] == "text expects a text"
    assert "hint" not in error


def test_an_error_after_the_first_chunk_is_an_event_of_the_same_type(
    app: App, asking: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    @app.ml_stream("/stream")
    def stream() -> Iterator[int]:
        yield 1
        raise Overloaded("too many wait")

    answer = asking(app).post("/stream")
    assert answer.status_code == 200
    assert '"type":"overloaded"' in answer.text
    assert not caplog.records  # a rejected call is counted, not logged


def test_a_failure_is_one_record_with_its_facts_and_a_rejected_call_none(
    app: App, asking: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/fail/{number}")
    def fail(number: int) -> None:
        raise RuntimeError("wrong")

    app.get("/gone")(_raising(ModelLoadError(SECRET)))
    app.get("/full")(_raising(Overloaded("full")))
    app.get("/bad")(_raising(InputError("bad")))
    client = asking(app)
    with caplog.at_level(logging.WARNING, "conduit_lab"):
        ids = [client.get(path).headers["x-request-id"] for path in ("/fail/1", "/gone")]
        client.get("/full")
        client.get("/bad")
        client.get("/nowhere")
    facts = [(r.request_id, r.endpoint, r.status) for r in caplog.records]  # type: ignore[attr-defined]
    assert facts == [(ids[0], "/fail/{number}", 500), (ids[1], "/gone", 503)]
    assert SECRET in caplog.text


def test_every_error_that_the_package_raises_on_purpose_is_answered(app: App, asking: Ask) -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    kinds = [each for each in kinds if issubclass(each, InputError)]
    for number, kind in enumerate(kinds):
        assert issubclass(kind, ConduitError)
        app.get(f"/{number}")(_raising(kind("the reason")))
    client = asking(app)
    assert {client.get(f"/{number}").status_code for number in range(len(kinds))} == {400}


def _raising(error: Exception) -> Any:
    def handler() -> None:
        raise error

    return handler
