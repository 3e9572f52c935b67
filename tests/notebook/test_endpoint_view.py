"""The messages of an endpoint's form, without a page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated, Any

import pytest
from annotated_types import Ge

from conduit_lab import Lab, Request
from conduit_lab.notebook.views.endpoint import view as view_module
from conduit_lab.notebook.views.endpoint.view import EndpointView, is_running

SECONDS = 20.0


class Form:
    """The view of one endpoint, and the messages that it sent."""

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint
        self.sent: list[dict[str, Any]] = []
        self.view = EndpointView(endpoint, self.sent.append)

    def flush(self) -> list[dict[str, Any]]:
        known = len(self.sent)
        self.view.flush()
        return self.sent[known:]

    def begin(self, number: int = 1, **call: Any) -> None:
        self.view.receive({"run": number, "call": call})

    def ended(self) -> list[dict[str, Any]]:
        """Return the messages until the last one of a call."""
        ends, messages = monotonic() + SECONDS, self.flush()
        while not messages or "milliseconds" not in messages[-1]:
            assert monotonic() < ends
            sleep(0.005)
            messages += self.flush()
        return messages

    def call(self, **call: Any) -> dict[str, Any]:
        self.begin(**call)
        return self.ended()[-1]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab("desk", root=tmp_path)


def test_the_form_is_sent_once_and_again_to_a_new_page(lab: Lab) -> None:
    form = Form(lab.post("/double")(_double))
    ((message),) = form.flush()
    assert list(message["document"]["paths"]) == ["/double"]
    assert form.flush() == []
    form.view.opened()
    assert "document" in form.flush()[0]


def _double(n: Annotated[int, Ge(0)]) -> int:
    """Double a number."""
    return 2 * n


def test_a_call_runs_the_endpoint_and_is_recorded(lab: Lab) -> None:
    endpoint = lab.post("/double")(_double)
    form = Form(endpoint)
    form.flush()
    answer = form.call(body={"n": 4})
    assert answer["value"] == 8
    assert answer["milliseconds"] > 0
    assert "double" in answer["trace"]
    assert [each.payload for each in lab.examples] == [{"n": 4}]
    assert not is_running(endpoint)


def test_every_kind_of_parameter_has_its_place(lab: Lab) -> None:
    def get(shelf: str, tag: list[str]) -> Any:
        return [shelf, tag]

    def whole(value, shelf: str):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return [shelf, value]

    def request(request: Request) -> Any:
        return request.parse_json()["a"]

    async def later(n: int) -> int:
        return n

    calls: list[tuple[Any, dict[str, Any], Any]] = [
        (
            lab.get("/get/{shelf}")(get),
            {"path": {"shelf": "a"}, "query": {"tag": ["b"]}},
            ["a", ["b"]],
        ),
        (lab.post("/whole/{shelf}")(whole), {"path": {"shelf": "a"}, "body": [1]}, ["a", [1]]),
        (lab.post("/request")(request), {"body": {"a": 5}}, 5),
        (lab.post("/later")(later), {"body": {"n": 6}}, 6),
    ]
    for endpoint, call, value in calls:
        form = Form(endpoint)
        form.flush()
        assert form.call(**call)["value"] == value


def test_a_mistake_and_a_fault_are_said_by_their_names(lab: Lab) -> None:
    form = Form(lab.post("/double")(_double))
    form.flush()
    error = form.call(body={"n": -1})["error"]
    assert error["type"] == "InputError"
    assert "n: expected at least 0" in error["message"]

    def fail(text: str) -> None:
        raise RuntimeError(f"<b>{text}</b>" * 1000 + "\ud800")

    failing = Form(lab.post("/fail")(fail))
    failing.flush()
    error = failing.call(body={"text": "x"})["error"]
    assert error["type"] == "RuntimeError"
    assert len(error["message"]) < 2100


def test_an_answer_with_a_view_has_its_own_form_and_a_large_one_a_beginning(lab: Lab) -> None:
    form = Form(lab.post("/self")(lambda: lab.endpoints))
    form.flush()
    assert "Endpoints" in form.call()["html"]
    large = Form(lab.post("/large")(lambda: "x" * (view_module.MAX_FORM_ANSWER_BYTES + 10)))
    large.flush()
    value = large.call()["value"]
    assert value.endswith("bytes of JSON)")
    assert len(value) < 3000


def test_a_stream_arrives_in_pieces_and_stops(lab: Lab) -> None:
    go = threading.Event()

    @lab.ml_stream("/count")
    def count(to: int) -> Iterator[Any]:
        yield from range(to)
        go.wait(SECONDS)
        yield "late"

    form = Form(count)
    form.flush()
    form.begin(7, body={"to": 3})
    chunks: list[Any] = []
    ends = monotonic() + SECONDS
    while len(chunks) < 3:
        assert monotonic() < ends
        chunks += [chunk for each in form.flush() for chunk in each["chunks"]]
        sleep(0.005)
    assert chunks == [0, 1, 2]
    assert is_running(count)
    form.view.receive({"stop": 7})
    last = form.ended()[-1]
    assert (last["run"], last["count"], last["stopped"]) == (7, 3, True)
    go.set()
    form.begin(8, body={"to": 2})
    messages = form.ended()
    assert [chunk for each in messages for chunk in each.get("chunks", [])] == [0, 1, "late"]
    assert (messages[-1]["count"], messages[-1]["stopped"]) == (3, False)


def test_a_closed_form_stops_its_stream(lab: Lab) -> None:
    closed = threading.Event()

    @lab.ml_stream("/endless")
    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
                sleep(0.001)
        finally:
            closed.set()

    form = Form(endless)
    form.flush()
    form.begin()
    ends = monotonic() + SECONDS
    while not form.flush():
        assert monotonic() < ends
    form.view.close()
    assert closed.wait(SECONDS)
    while is_running(endless):
        assert monotonic() < ends
        sleep(0.005)
