"""Messages, asked with Anthropic's own client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from anthropic import Anthropic, BadRequestError, NotFoundError

from conduit_lab.serving.run.thread import Server
from tests.serving.faces.language.desks import PASSAGE, QUESTION, WEATHER

GREEDY: Any = {"temperature": 0}
HELLO: Any = [{"role": "user", "content": "hello"}]
TOOLS: Any = [{"name": "weather", "input_schema": WEATHER}]


def test_a_message_is_what_the_generator_writes(anthropic: Anthropic, server: Server) -> None:
    made = anthropic.messages.create(
        model="chat",
        max_tokens=8,
        extra_body=GREEDY,
        system=[{"type": "text", "text": "Be kind."}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    )
    messages = [{"role": "system", "content": "Be kind."}, *HELLO]
    expected = server.app.models["chat"].chat(messages, max_tokens=8)
    [block] = made.content
    assert block.type == "text"
    assert block.text == expected.text
    assert made.stop_reason == "max_tokens"
    again = anthropic.messages.create(
        model="chat", max_tokens=8, extra_body=GREEDY, messages=HELLO, system="Be kind."
    )
    for usage in (made.usage, again.usage):
        assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == expected.usage.prompt
    assert again.usage.cache_read_input_tokens
    assert made.usage.output_tokens == 8
    counted = anthropic.messages.count_tokens(model="chat", system="Be kind.", messages=HELLO)
    assert counted.input_tokens == expected.usage.prompt


def test_a_stop_sequence_is_named(anthropic: Anthropic, server: Server) -> None:
    text = server.app.models["chat"].chat(HELLO, max_tokens=20).text
    stop = text[3:5]
    made = anthropic.messages.create(
        model="chat", max_tokens=20, extra_body=GREEDY, messages=HELLO, stop_sequences=["zzz", stop]
    )
    assert (made.stop_reason, made.stop_sequence) == ("stop_sequence", stop)
    assert made.content[0].type == "text"
    assert made.content[0].text == text[: text.index(stop)]


def test_the_events_build_the_message(anthropic: Anthropic) -> None:
    with anthropic.messages.stream(
        model="chat", max_tokens=6, extra_body=GREEDY, messages=HELLO
    ) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    whole = anthropic.messages.create(model="chat", max_tokens=6, extra_body=GREEDY, messages=HELLO)
    assert streamed.content[0].type == whole.content[0].type == "text"
    assert streamed.content[0].text == whole.content[0].text
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == whole.usage.output_tokens


def test_a_rag_answers_with_citations(anthropic: Anthropic, client: httpx.Client) -> None:
    question: Any = [{"role": "user", "content": QUESTION}]
    made = anthropic.messages.create(model="rag_query", max_tokens=100, messages=question)
    [block] = made.content
    assert block.type == "text"
    [citation] = block.citations or []
    assert citation.type == "search_result_location"
    assert citation.cited_text == PASSAGE[:25]
    assert client.get(citation.source).status_code == 200
    assert made.stop_reason == "end_turn"


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_a_tool_is_used_and_its_result_given_back(anthropic: Anthropic, choice: Any) -> None:
    made = anthropic.messages.create(
        model="tooled", max_tokens=100, messages=HELLO, tools=TOOLS, tool_choice=choice
    )
    [block] = made.content
    assert made.stop_reason == "tool_use"
    assert block.type == "tool_use"
    assert block.input["city"] in ("Rome", "Oslo")
    back: Any = [
        *HELLO,
        {"role": "assistant", "content": made.content},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}],
        },
    ]
    again = anthropic.messages.create(model="tooled", max_tokens=3, messages=back, tools=TOOLS)
    assert again.stop_reason in ("max_tokens", "end_turn")
    with anthropic.messages.stream(
        model="tooled", max_tokens=100, messages=HELLO, tools=TOOLS, tool_choice=choice
    ) as stream:
        final = stream.get_final_message()
    assert final.content[0].type == "tool_use"


def test_errors_have_anthropics_form(anthropic: Anthropic) -> None:
    with pytest.raises(NotFoundError) as missing:
        anthropic.messages.create(model="none", max_tokens=3, messages=HELLO)
    body: Any = missing.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "not_found_error"
    with pytest.raises(BadRequestError, match="max_tokens expects an integer from 1") as refused:
        anthropic.messages.create(model="chat", max_tokens=10**12, messages=HELLO, timeout=30)
    assert refused.value.type == "invalid_request_error"


def test_a_json_schema_holds_in_a_message(anthropic: Anthropic) -> None:
    output: Any = {"format": {"type": "json_schema", "schema": WEATHER}}
    made = anthropic.messages.create(
        model="chat", max_tokens=60, messages=HELLO, output_config=output
    )
    assert made.content[0].type == "text"
    assert json.loads(made.content[0].text)["city"] in ("Rome", "Oslo")
