"""The arguments that an endpoint gets from a chat front end, and refused requests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from conduit_lab import App, Generator, Request, Stream
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import Ask
from tests.serving.faces.counting import data
from tests.serving.faces.language.desks import make_desk

HELLO = {"messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}]}
RUN = {"threadId": "t", "runId": "r", "messages": [{"id": "1", "role": "user", "content": "hello"}]}


def delta(events: list[Any]) -> str:
    return "".join(str(each.get("delta", "")) for each in events if isinstance(each, dict))


def ui_events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


@pytest.fixture
def desk(app: App) -> App:
    app.protocols = ("aisdk", "agui")
    return app


def test_the_events_of_an_answer_and_its_headers(desk: App, asking: Ask) -> None:
    @desk.ml_stream("/write")
    def write(prompt: str) -> Iterator[str]:
        yield from (f"{prompt} ", "there")

    answer = asking(desk).post("/aisdk/write", json=HELLO)
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert ui_events(answer.text) == [
        {"type": "start"},
        {"type": "text-start", "id": "text-1"},
        {"type": "text-delta", "id": "text-1", "delta": "hello "},
        {"type": "text-delta", "id": "text-1", "delta": "there"},
        {"type": "text-end", "id": "text-1"},
        {"type": "finish", "finishReason": "stop"},
        "[DONE]",
    ]


@pytest.mark.parametrize("path", ["/aisdk", "/agui"])
def test_fields_of_the_request_fill_the_other_parameters(desk: App, asking: Ask, path: str) -> None:
    @desk.ml_stream("/write/{place}")
    def write(words: int, prompt: str, place: str) -> Iterator[str]:
        yield f"{words} {prompt} {place}"

    body = {**HELLO, "words": 3} if path == "/aisdk" else {**RUN, "forwardedProps": {"words": 3}}
    answer = asking(desk).post(f"{path}/write/here", json=body)
    assert delta(ui_events(answer.text)) == "3 hello here"
    wrong = (
        {**HELLO, "words": "x"} if path == "/aisdk" else {**RUN, "forwardedProps": {"words": []}}
    )
    refused = asking(desk).post(f"{path}/write/here", json=wrong)
    assert refused.status_code == 400
    assert "words" in refused.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/aisdk", "/agui"])
def test_fields_are_json_values_as_in_a_request_to_the_endpoint(
    desk: App, asking: Ask, path: str
) -> None:
    @desk.ml_stream("/write/{page}")
    def write(prompt: str, page: int, words: int = 1) -> Iterator[str]:
        yield f"{page} {words}"

    client = asking(desk)
    for words, status in ((2, 200), ("2", 400), (2.5, 400)):
        fields: dict[str, Any] = {"words": words}
        given = {**HELLO, **fields}
        body = given if path == "/aisdk" else {**RUN, "forwardedProps": fields}
        answer = client.post(f"{path}/write/7", json=body)
        assert answer.status_code == status
        assert ("7 2" if status == 200 else f"got {words!r}") in answer.text


def test_messages_shown_to_the_user_alone_are_left_out(desk: App, asking: Ask) -> None:
    @desk.ml_stream("/roles")
    def roles(messages: list[dict[str, str]]) -> Iterator[str]:
        yield " ".join(each["role"] for each in messages)

    shown = [
        {"id": "2", "role": "reasoning", "content": "so"},
        {"id": "3", "role": "activity", "activityType": "PLAN", "content": {"steps": [1]}},
        {"id": "4", "role": "user", "content": "and now?"},
    ]
    body = {**RUN, "messages": [*RUN["messages"], *shown]}
    assert delta(data(asking(desk).post("/agui/roles", json=body).text)) == "user user"


def test_the_state_of_an_agent_fills_a_parameter_of_that_name(desk: App, asking: Ask) -> None:
    @desk.ml_stream("/count")
    def count(prompt: str, state: dict[str, int]) -> Iterator[str]:
        yield f"{prompt} {state['n']}"

    answer = asking(desk).post("/agui/count", json={**RUN, "state": {"n": 2}})
    assert delta(data(answer.text)) == "hello 2"


def test_a_handler_of_the_request_gets_the_messages_and_the_fields(desk: App, asking: Ask) -> None:
    @desk.ml_stream("/echo")
    async def echo(request: Request) -> AsyncIterator[str]:
        yield json.dumps(request.parse_json(), sort_keys=True)

    answer = asking(desk).post("/aisdk/echo", json={**HELLO, "words": 1})
    assert json.loads(delta(ui_events(answer.text))) == {
        "messages": [{"role": "user", "content": "hello"}],
        "words": 1,
    }


def test_one_parameter_without_a_type_gets_the_text(desk: App, asking: Ask) -> None:
    @desk.ml_stream("/echo")
    def echo(prompt):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        yield prompt

    answer = asking(desk).post("/aisdk/echo", json=HELLO)
    assert delta(ui_events(answer.text)) == "hello"


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [1]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "root", "parts": []}]},
        {"messages": [{"role": "assistant", "parts": []}]},
        {"messages": [{"role": "user", "parts": [{"type": "file", "url": "http://10.0.0.1/"}]}]},
        {"messages": [{"role": "user", "parts": [{"type": "text", "text": 1}]}]},
        {"messages": [{"role": "user", "parts": [{"type": "text", "text": "x"}]}] * 10_001},
    ],
)
def test_a_body_that_is_no_chat_is_a_400_and_runs_nothing(
    desk: App, asking: Ask, body: Any
) -> None:
    desk.ml_stream("/never")(_never)
    answer = asking(desk).post("/aisdk/never", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "bad_input"


def _never(prompt: str) -> Iterator[str]:
    pytest.fail("it ran")
    yield prompt


def test_a_gap_and_a_cancelled_run_are_reported(desk: App, asking: Ask) -> None:
    @desk.ml_stream("/pushed")
    def pushed(prompt: str) -> Stream[str]:
        stream: PushedStream[str] = PushedStream(keep=1000)
        for number in range(100):
            stream.append(f"{number} " + "x" * 100)
        stream.cancel()
        return stream

    chat = ui_events(asking(desk).post("/aisdk/pushed", json=HELLO).text)
    run = data(asking(desk).post("/agui/pushed", json=RUN).text)
    assert chat[1]["type"] == "data-lagged"
    assert chat[1]["data"]["missed"] > 80
    assert chat[-1]["type"] == "error"
    assert run[2]["name"] == "lagged"
    assert run[-1] == {
        "type": "RUN_ERROR",
        "message": "the stream was cancelled on the server",
        "code": "stream_cancelled",
    }


def test_without_a_page_of_its_passages_a_source_is_a_document(desk: App, asking: Ask) -> None:
    @desk.ml_stream("/cite")
    def cite(prompt: str) -> Iterator[dict[str, Any]]:
        yield {"chunk": "", "complete": False, "sources": [{"id": "a#1", "text": "a passage"}]}
        yield {"chunk": "text", "complete": True, "sources": [{"id": "a#1", "text": "a passage"}]}

    _, source, *rest = ui_events(asking(desk).post("/aisdk/cite", json=HELLO).text)
    assert source == {
        "type": "source-document",
        "sourceId": "a#1",
        "title": "a#1",
        "mediaType": "text/plain",
    }
    assert "source-document" not in json.dumps(rest)
    run = data(asking(desk).post("/agui/cite", json=RUN).text)
    state = next(each["snapshot"] for each in run if each["type"] == "STATE_SNAPSHOT")
    assert state["sources"] == [{"id": "a#1", "title": "a#1", "url": None}]


def test_a_generator_is_asked_by_its_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    desk = make_desk(tmp_path_factory.mktemp("desk"), "aisdk", "agui")
    generators = [model for model in desk.models if isinstance(model, Generator)]
    try:
        with Server(desk, port=0) as server:
            answers = {
                name: httpx.post(f"{server.url}{name}", json=body, timeout=30)
                for name, body in (("/aisdk/chat", HELLO), ("/agui/chat", RUN))
            }
    finally:
        for each in generators:
            each.unload()
    for answer in answers.values():
        assert answer.status_code == 200
        assert delta(ui_events(answer.text)) != ""
    assert ui_events(answers["/aisdk/chat"].text)[-1] == "[DONE]"
    assert data(answers["/agui/chat"].text)[-1]["type"] == "RUN_FINISHED"
