"""A Rag over HTTP: whole and streamed answers, too large requests, clients that disconnect."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse
from starlette.testclient import TestClient

from conduit_lab import App, Generator, Lab, Rag, VectorStore
from conduit_lab.core.errors import EndpointError, InputError
from conduit_lab.flow.rag import MAX_QUESTION_CHARACTERS, UNKNOWN_ANSWER
from tests.serving.conftest import Ask

WRITER = Path(__file__).parents[1] / "models" / "generation" / "decoders" / "llama"
SECONDS = 30.0


class Echo:
    """A generator that answers with its prompt."""

    def generate(self, *, query: str, context: Sequence[str]) -> str:
        return f"{query}: {' | '.join(context)}"


@pytest.fixture
def store() -> Iterator[VectorStore]:
    with VectorStore(2, name="handbook") as store:
        store.add(
            "refunds#0",
            [1, 0],
            {"section": "returns", "start": 40, "end": 65},
            "A refund takes five days.",
        )
        store.add(
            "kettles#0", [0, 1], {"section": "products"}, "A kettle is descaled once a month."
        )
        yield store


@pytest.fixture
def writer() -> Iterator[Generator]:
    writer = Generator(WRITER, device="cpu", name="writer")
    yield writer
    writer.unload()


def events(text: str) -> list[Any]:
    return [
        json.loads(line.removeprefix("data: "))
        for line in text.splitlines()
        if line.startswith("data: ")
    ]


def test_a_question_is_answered_with_its_sources(
    app: App, asking: Ask, store: VectorStore, writer: Generator
) -> None:
    rag = Rag(store, writer, mode="lexical", max_tokens=8)
    app.rag("/rag/query", rag)
    answer = asking(app).post("/rag/query", json={"question": "How long does a refund take?"})
    assert answer.status_code == 200
    assert answer.json() == rag("How long does a refund take?")
    assert answer.json()["sources"][0]["span"] == [40, 65]


def test_a_stream_begins_with_the_sources_and_ends_with_the_answer(
    app: App, asking: Ask, store: VectorStore, writer: Generator
) -> None:
    rag = Rag(store, writer, mode="lexical", max_tokens=8)
    app.rag("/rag/query", rag)
    answer = asking(app).post("/rag/query/stream", json={"question": "refund?"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    first, *middle, last = events(answer.text)
    whole = rag("refund?")
    assert first == {"chunk": "", "complete": False, "sources": whole["sources"]}
    assert "".join(chunk["chunk"] for chunk in middle) == whole["response"]
    assert last == {"chunk": "", "complete": True, **whole}


def test_a_browser_asks_for_a_stream_with_a_get(app: App, asking: Ask, store: VectorStore) -> None:
    app.rag("/rag/query", Rag(store, Echo(), mode="lexical"))
    answer = asking(app).get("/rag/query/stream", params={"question": "Is a refund quick?"})
    assert events(answer.text)[-1]["response"] == "Is a refund quick?: A refund takes five days."


def test_what_nothing_is_relevant_to_is_not_known(
    app: App, asking: Ask, store: VectorStore
) -> None:
    app.rag("/rag/query", Rag(store, Echo(), mode="lexical"))
    unknown = {"response": UNKNOWN_ANSWER, "sources": []}
    assert asking(app).post("/rag/query", json={"question": "Paris"}).json() == unknown


@pytest.mark.parametrize("path", ["/rag/query", "/rag/query/stream"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "question: Field required"),
        ({"question": 3}, "question: expected a valid string"),
        ({"question": None}, "question: expected a valid string"),
        ({"question": " "}, "the question is empty"),
        ({"question": "k" * (MAX_QUESTION_CHARACTERS + 1)}, "expected at most 10000"),
        ({"question": "k" * 10**7}, "expected at most 10000"),
        ({"question": "a", "top_k": 9}, "top_k: Extra inputs are not permitted"),
        (["question"], "got a JSON list"),
    ],
)
def test_what_is_no_question_is_a_400_that_says_why(
    app: App, asking: Ask, store: VectorStore, path: str, body: Any, message: str
) -> None:
    app.rag("/rag/query", Rag(store, Echo(), mode="lexical"))
    answer = asking(app).post(path, json=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_a_question_with_a_lone_surrogate_is_answered(
    app: App, asking: Ask, store: VectorStore
) -> None:
    app.rag("/rag/query", Rag(store, Echo(), mode="lexical"))
    body = b'{"question": "refund \\ud800"}'
    answer = asking(app).post(
        "/rag/query", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (200, 400)


def test_a_whole_answer_is_not_asked_for_with_a_get(
    app: App, asking: Ask, store: VectorStore
) -> None:
    app.rag("/rag/query", Rag(store, Echo(), mode="lexical"))
    answer = asking(app).get("/rag/query")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_an_error_of_the_generator_stays_on_the_server(
    app: App, asking: Ask, store: VectorStore
) -> None:
    class Broken:
        def generate(self, *, query: str, context: Sequence[str]) -> str:
            raise RuntimeError("the secret place")

    app.rag("/rag/query", Rag(store, Broken(), mode="lexical"))
    client = asking(app)
    whole = client.post("/rag/query", json={"question": "refund"})
    streamed = client.post("/rag/query/stream", json={"question": "refund"})
    assert (whole.status_code, whole.json()["error"]["type"]) == (500, "internal")
    assert events(streamed.text)[0]["sources"][0]["id"] == "refunds#0"
    assert events(streamed.text)[-1]["type"] == "stream_failed"
    assert "secret" not in whole.text + streamed.text


def test_the_writing_ends_when_the_client_leaves(lab: Lab, store: VectorStore) -> None:
    ended = threading.Event()

    class Endless(Echo):
        def stream(self, *, query: str, context: Sequence[str]) -> Iterator[str]:
            try:
                while True:
                    yield "more "
            finally:
                ended.set()

    lab.rag("/rag/query", Rag(store, Endless(), mode="lexical"))
    with lab.serve(port=0) as server, httpx.Client(timeout=SECONDS) as client:
        url = f"{server.url}/rag/query/stream"
        with connect_sse(client, "POST", url, json={"question": "refund"}) as source:
            assert json.loads(next(source.iter_sse()).data)["sources"]
        assert ended.wait(SECONDS)


def test_both_are_called_from_python_too_and_traced(lab: Lab, store: VectorStore) -> None:
    ask = lab.rag("/rag/query", Rag(store, Echo(), mode="lexical"))
    whole = ask("refund")
    assert ask.stream("refund").result() == whole
    for endpoint in (ask, ask.stream):
        assert endpoint.trace is not None
        names = [span.name for span in endpoint.trace]
        assert names[1:] == ["rag", "retrieve", "handbook", "pack", "Echo"]
    with pytest.raises(InputError, match="the question is empty"):
        ask("")


def test_each_is_named_after_its_path_and_a_stream_after_its_question(
    lab: Lab, store: VectorStore
) -> None:
    rag = Rag(store, Echo(), mode="lexical")
    ask, help_me, root = (lab.rag(path, rag) for path in ("/ask", "/help/me/", "/"))
    assert (ask.name, ask.stream.name) == ("ask", "ask_stream")
    assert (help_me.name, help_me.stream.name) == ("help_me", "help_me_stream")
    assert (root.name, root.stream.name) == ("rag", "stream")
    stream = ask.stream("Is a refund\nquick?")
    assert stream.name == "Is a refund quick?"
    stream.result()


def test_the_log_names_the_endpoint_and_not_the_question(
    app: App, asking: Ask, store: VectorStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def generate(self, *, query: str, context: Sequence[str]) -> str:
            raise ValueError("broken")

    app.rag("/ask", Rag(store, Broken(), mode="lexical"))
    asking(app).post("/ask/stream", json={"question": "my refund"})
    assert "/ask/stream failed" in caplog.text
    assert "my refund" not in caplog.text


def test_the_table_of_an_app_shows_both(app: App, store: VectorStore) -> None:
    app.rag("/rag/query", Rag(store, Echo(), mode="lexical", name="help"))
    lines = [line.split() for line in repr(app.endpoints).splitlines()]
    assert ["POST", "/rag/query", "rag_query(question:", "str)"] in [line[:4] for line in lines]
    assert ["POST", "/rag/query/stream", "rag_query_stream(question:", "str)"] in [
        line[:4] for line in lines
    ]


def test_a_cell_that_is_run_again_replaces_both(lab: Lab, store: VectorStore) -> None:
    lab.rag("/rag/query", Rag(store, Echo(), mode="lexical"))
    lab.rag("/rag/query", Rag(store, Echo(), mode="lexical", top_k=1))
    assert len(lab.endpoints) == 2
    with TestClient(lab) as client:
        answer = client.post("/rag/query", json={"question": "a refund, a kettle"})
    assert len(answer.json()["sources"]) == 1


def test_an_app_refuses_a_path_that_is_taken(app: App, store: VectorStore) -> None:
    app.rag("/rag/query", Rag(store, Echo(), mode="lexical"))
    with pytest.raises(EndpointError, match=r"already served by rag_query\(\)"):
        app.rag("/rag/query", Rag(store, Echo(), mode="lexical"))
    assert len(app.endpoints) == 2
