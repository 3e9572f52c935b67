"""The streams of an app as real chat front ends read them: npm `ai` and `@ag-ui/client`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest

from conduit_lab import App, Rag, VectorStore
from conduit_lab.core.errors import InputError
from conduit_lab.serving.run.thread import Server
from tests.serving.clients.node import require, run_script

PASSAGE = "A refund takes five days."


class Quote:
    """A generator that answers with the passages that it was given."""

    def generate(self, *, query: str, context: Sequence[str]) -> str:
        return " ".join(context)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    app = App("desk", root=tmp_path_factory.mktemp("desk"), protocols=["aisdk", "agui"])

    @app.ml_stream("/write")
    async def write(prompt: str, words: int = 5) -> AsyncIterator[Any]:
        for number in range(words):
            await asyncio.sleep(0.001)
            yield {"chunk": f"{prompt} {number} ", "complete": False}
        yield {"words": words}
        yield np.zeros((2, 2, 3), np.uint8)
        yield "the end"

    @app.ml_stream("/recall")
    def recall(messages: list[dict[str, str]]) -> Iterator[str]:
        for message in messages:
            yield f"{message['role']}: {message['content']}; "

    @app.ml_stream("/late")
    def late(prompt: str) -> Iterator[str]:
        yield "a beginning"
        raise ValueError("the secret reason")

    @app.ml_stream("/refuse")
    def refuse(prompt: str) -> Iterator[str]:
        raise InputError("the prompt is refused")
        yield ""

    with VectorStore(2, name="handbook") as store:
        store.add("refunds#0", [1, 0], {"section": "returns"}, PASSAGE)
        app.rag("/ask", Rag(store, Quote(), mode="lexical"))
        with Server(app, port=0) as server:
            yield server.url


def ai_sdk(url: str, path: str, *texts: str, **fields: Any) -> Any:
    require("ai")
    return json.loads(run_script("ai_sdk.mjs", f"{url}/aisdk{path}", json.dumps(fields), *texts))


def ag_ui(url: str, path: str, *texts: str, **fields: Any) -> Any:
    require("@ag-ui/client")
    return json.loads(run_script("ag_ui.mjs", f"{url}/agui{path}", json.dumps(fields), *texts))


def test_use_chat_gets_text_data_and_files_as_parts_of_one_message(url: str) -> None:
    chat = ai_sdk(url, "/write", "hello", words=2)
    assert chat["status"] == "ready"
    assert chat["finished"] == [{"finishReason": "stop", "isError": False}]
    _, answer = chat["messages"]
    text, data, file, end = answer["parts"]
    assert text == {"type": "text", "text": "hello 0 hello 1 ", "state": "done"}
    assert (data["type"], data["data"]) == ("data-chunk", {"words": 2})
    assert file["mediaType"] == "image/png"
    assert file["url"].startswith("data:image/png;base64,")
    assert end == {"type": "text", "text": "the end", "state": "done"}
    assert [each["data"] for each in chat["data"]] == [{"words": 2}]


def test_use_chat_sends_the_whole_conversation_to_a_parameter_named_messages(url: str) -> None:
    chat = ai_sdk(url, "/recall", "one", "two")
    answers = [each["parts"][0]["text"] for each in chat["messages"] if each["role"] != "user"]
    assert answers == ["user: one; ", "user: one; assistant: user: one; ; user: two; "]


def test_use_chat_shows_the_sources_of_a_rag_and_their_pages(url: str) -> None:
    chat = ai_sdk(url, "/ask", "How long does a refund take?")
    source, text = chat["messages"][1]["parts"]
    assert text["text"] == PASSAGE
    assert (source["type"], source["sourceId"]) == ("source-url", "refunds#0")
    assert source["url"].startswith(f"{url}/sources/")
    assert source["url"].endswith(f"#0-{len(PASSAGE)}")
    assert PASSAGE in httpx.get(source["url"]).text


def test_use_chat_reports_errors_before_and_after_the_start(url: str) -> None:
    late = ai_sdk(url, "/late", "hello")
    assert late["status"] == "error"
    assert late["messages"][1]["parts"] == [
        {"type": "text", "text": "a beginning", "state": "done"}
    ]
    assert late["finished"][0]["isError"] is True
    assert "secret" not in json.dumps(late)
    refused = ai_sdk(url, "/refuse", "hello")
    assert refused["status"] == "error"
    assert "the prompt is refused" in refused["error"]


def test_an_agent_runs_with_its_steps_text_and_state(url: str) -> None:
    run = ag_ui(url, "/write", "hello", words=2)
    kinds = [each["type"] for each in run["events"]]
    assert kinds == [
        *("RUN_STARTED", "STEP_STARTED", "TEXT_MESSAGE_START"),
        *("TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "CUSTOM", "CUSTOM"),
        *("TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "STEP_FINISHED", "RUN_FINISHED"),
    ]
    started, step = run["events"][:2]
    assert started["threadId"] == "thread-1"
    assert started["runId"] == run["events"][-1]["runId"]
    assert step["stepName"] == "write"
    assert run["messages"][1]["content"] == "hello 0 hello 1 the end"


def test_an_agent_gets_the_sources_as_its_state(url: str) -> None:
    run = ag_ui(url, "/ask", "How long does a refund take?")
    (source,) = run["state"]["sources"]
    assert source["id"] == "refunds#0"
    assert PASSAGE in httpx.get(source["url"]).text
    assert run["messages"][1]["content"] == PASSAGE


def test_an_agent_keeps_the_conversation_and_reports_a_failed_run(url: str) -> None:
    run = ag_ui(url, "/recall", "one", "two")
    answers = [each["content"] for each in run["messages"] if each["role"] == "assistant"]
    assert answers == ["user: one; ", "user: one; assistant: user: one; ; user: two; "]
    failed = ag_ui(url, "/late", "hello")
    assert failed["events"][-1]["type"] == "RUN_ERROR"
    assert failed["messages"][1]["content"] == "a beginning"
    assert "secret" not in json.dumps(failed)
