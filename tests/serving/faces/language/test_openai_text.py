"""Completions, embeddings and responses, asked with OpenAI's own client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from conduit_lab.models.text.embedder import Embedder
from conduit_lab.serving.run.thread import Server
from tests.serving.faces.language.desks import PASSAGE, QUESTION, WEATHER

# Completions


def test_completions_of_several_prompts(openai: OpenAI, server: Server) -> None:
    made = openai.completions.create(
        model="plain", prompt=["one", "two"], max_tokens=4, n=2, temperature=0, logprobs=2
    )
    plain = server.app.models["plain"]
    texts = [plain.generate(prompt, max_tokens=4).text for prompt in ("one", "one", "two", "two")]
    assert [choice.text for choice in made.choices] == texts
    assert made.usage is not None
    assert made.usage.prompt_tokens == plain.count_tokens("one") + plain.count_tokens("two")
    assert made.usage.completion_tokens == 16
    logprobs = made.choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.tokens or []) == len(logprobs.token_logprobs or []) == 4
    assert (logprobs.text_offset or [])[0] == 0


def test_a_streamed_completion_and_token_ids(openai: OpenAI, server: Server) -> None:
    plain = server.app.models["plain"]
    ids = plain._parts().prompts.encode("one two")
    options: Any = {"model": "plain", "prompt": ids, "temperature": 0}
    chunks = list(openai.completions.create(**options, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == (
        plain.generate("one two", max_tokens=16).text
    )
    assert chunks[-1].choices[0].finish_reason == "length"


# Embeddings


def test_embeddings_are_the_embedders(openai: OpenAI, minilm: Embedder) -> None:
    texts = ["a refund", "a kettle that is broken"]
    made = openai.embeddings.create(model="minilm", input=texts)  # as base64, by itself
    expected = minilm.encode(texts)
    assert np.array_equal(np.array([each.embedding for each in made.data], np.float32), expected)
    as_floats = openai.embeddings.create(model="minilm", input=texts, encoding_format="float")
    assert np.allclose([each.embedding for each in as_floats.data], expected, atol=1e-7)
    assert made.usage.prompt_tokens == sum(map(minilm.count_tokens, texts))


def test_dimensions_keep_the_beginning_at_unit_length(openai: OpenAI, minilm: Embedder) -> None:
    made = openai.embeddings.create(model="minilm", input="a refund", dimensions=16)
    vector = np.array(made.data[0].embedding)
    own = minilm.encode("a refund")[:16]
    assert np.allclose(vector, own / np.linalg.norm(own), atol=1e-6)
    with pytest.raises(BadRequestError, match="dimensions of 'minilm' expects 1 to 384, got 385"):
        openai.embeddings.create(model="minilm", input="a", dimensions=385)


def test_a_text_that_is_cut_is_reported(client: httpx.Client, minilm: Embedder) -> None:
    body = {"model": "minilm", "input": ["a", "long " * 100_000]}
    answer = client.post("/v1/embeddings", json=body)
    assert answer.headers["x-conduit-truncated"] == "1"
    assert answer.json()["usage"]["prompt_tokens"] == minilm.count_tokens("a") + 256
    short = client.post("/v1/embeddings", json={**body, "input": "a"})
    assert "x-conduit-truncated" not in short.headers


def test_an_embedding_needs_an_embedder(openai: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="no embedder 'chat'"):
        openai.embeddings.create(model="chat", input="a")


# Responses


def test_a_response_is_what_the_generator_writes(openai: OpenAI, server: Server) -> None:
    made = openai.responses.create(
        model="chat", input="hello", instructions="Be kind.", max_output_tokens=8, temperature=0
    )
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hello"},
    ]
    expected = server.app.models["chat"].chat(messages, max_tokens=8)
    assert made.output_text == expected.text
    assert made.status == "incomplete"
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "max_output_tokens"
    assert made.usage is not None
    assert made.usage.input_tokens == expected.usage.prompt


def test_the_events_of_a_response_are_numbered_and_build_it(openai: OpenAI) -> None:
    events: list[Any] = list(
        openai.responses.create(model="rag_query", input=QUESTION, stream=True)
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    response = events[-1].response
    assert "".join(deltas) == response.output_text
    [annotation] = response.output[0].content[0].annotations
    assert response.output_text[annotation.start_index : annotation.end_index] == PASSAGE[:25]
    whole = openai.responses.create(model="rag_query", input=QUESTION)
    assert whole.output_text == response.output_text


def test_the_helper_of_the_client_reads_a_stream(openai: OpenAI) -> None:
    with openai.responses.stream(model="chat", input="hello", max_output_tokens=4) as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        stream.close()
    assert texts


def test_a_function_is_called_and_its_output_given_back(openai: OpenAI) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}]
    options: Any = {"model": "tooled", "tools": tools}
    made = openai.responses.create(**options, input="Oslo?", tool_choice="required")
    [call] = made.output
    assert call.type == "function_call"
    assert json.loads(call.arguments)["city"] in ("Rome", "Oslo")
    back: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "Oslo?"}]},
        call.model_dump(),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    again = openai.responses.create(**options, input=back, max_output_tokens=3)
    assert again.status in ("completed", "incomplete")
    named: Any = {"type": "function", "name": "weather"}
    events = list(openai.responses.create(**options, input="Oslo?", tool_choice=named, stream=True))
    assert [event.type for event in events if "function_call_arguments" in event.type] == [
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    ]


def test_a_json_schema_holds_in_a_response(openai: OpenAI) -> None:
    format: Any = {"format": {"type": "json_schema", "name": "city", "schema": WEATHER}}
    made = openai.responses.create(model="chat", input="hello", text=format)
    assert json.loads(made.output_text)["city"] in ("Rome", "Oslo")


def test_responses_are_not_kept(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="does not store responses"):
        openai.responses.create(model="chat", input="a", previous_response_id="resp_1")
