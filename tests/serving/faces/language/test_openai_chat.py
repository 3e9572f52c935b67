"""Chat completions, asked with OpenAI's own client."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any, Literal

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from pydantic import BaseModel, ConfigDict

from conduit_lab.serving.run.thread import Server
from tests.models.generation.writers import DECODERS
from tests.serving.conftest import until
from tests.serving.faces.language.desks import PASSAGE, QUESTION, WEATHER

HELLO: Any = [{"role": "user", "content": "hello"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
LONG = {"type": "array", "items": {"enum": [1]}, "minItems": 40}


def test_models_are_generators_embedders_and_rags(openai: OpenAI) -> None:
    ids = [model.id for model in openai.models.list()]
    assert sorted(ids) == ["chat", "minilm", "plain", "rag_query", "tooled"]
    assert openai.models.retrieve("chat").id == "chat"
    with pytest.raises(NotFoundError, match=r"no model 'chta' is served\. Did you mean 'chat'"):
        openai.models.retrieve("chta")


def test_a_chat_is_what_the_generator_writes(openai: OpenAI, server: Server) -> None:
    made = openai.chat.completions.create(
        model="chat", messages=HELLO, max_tokens=12, temperature=0.9, top_p=0.8, seed=5
    )
    expected = server.app.models["chat"].chat(
        HELLO, max_tokens=12, temperature=0.9, top_p=0.8, seed=5
    )
    [choice] = made.choices
    assert choice.message.content == expected.text
    assert choice.finish_reason == expected.finish_reason
    assert choice.message.role == "assistant"
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (
        expected.usage.prompt,
        expected.usage.generated,
    )


def test_a_stream_is_the_same_text_with_its_usage(openai: OpenAI) -> None:
    options: Any = {"model": "chat", "messages": HELLO, "max_completion_tokens": 12, "seed": 5}
    whole = openai.chat.completions.create(**options)
    chunks = list(
        openai.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
    )
    *middle, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in middle) == (
        whole.choices[0].message.content
    )
    assert middle[0].choices[0].delta.role == "assistant"
    assert middle[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert last.choices == []
    assert last.usage is not None and whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens


@pytest.mark.usefixtures("headers_wait")
def test_every_line_of_a_stream_is_data_and_the_last_is_done(client: httpx.Client) -> None:
    body = {"model": "chat", "messages": HELLO, "max_tokens": 4, "stream": True, "n": 2}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1}
    assert all("usage" not in chunk for chunk in chunks)


def test_n_choices_and_stop(openai: OpenAI) -> None:
    made = openai.chat.completions.create(model="chat", messages=HELLO, max_tokens=20, n=3, seed=1)
    texts = [choice.message.content or "" for choice in made.choices]
    assert [choice.index for choice in made.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    stop = texts[0][4:6]
    [cut, *_] = openai.chat.completions.create(
        model="chat", messages=HELLO, max_tokens=20, n=3, seed=1, stop=[stop]
    ).choices
    assert cut.message.content == texts[0][: texts[0].index(stop)]
    assert cut.finish_reason == "stop"


def test_logprobs_and_logit_bias(openai: OpenAI) -> None:
    made = openai.chat.completions.create(
        model="chat",
        messages=HELLO,
        max_tokens=3,
        logprobs=True,
        top_logprobs=2,
        logit_bias={"70": 100},
        temperature=0,
    )
    [choice] = made.choices
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert len(choice.logprobs.content) == 3
    for token in choice.logprobs.content:
        assert bytes(token.bytes or []).decode() == token.token
        assert token.token * 3 == choice.message.content
        assert len(token.top_logprobs) == 2
        assert token.logprob <= token.top_logprobs[0].logprob
    streamed = openai.chat.completions.create(
        model="chat", messages=HELLO, max_tokens=3, logprobs=True, temperature=0, stream=True
    )
    tokens = [
        token.token
        for chunk in streamed
        if chunk.choices[0].logprobs is not None
        for token in chunk.choices[0].logprobs.content or []
    ]
    assert len(tokens) == 3


def test_a_json_schema_holds(openai: OpenAI) -> None:
    format: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": WEATHER}}
    made = openai.chat.completions.create(
        model="chat", messages=HELLO, max_tokens=60, response_format=format
    )
    assert json.loads(made.choices[0].message.content or "")["city"] in ("Rome", "Oslo")


def test_a_forced_tool_is_called_whole_and_streamed(openai: OpenAI) -> None:
    options: Any = {
        "model": "tooled",
        "messages": HELLO,
        "tools": TOOLS,
        "tool_choice": "required",
        "seed": 3,
    }
    [choice] = openai.chat.completions.create(**options).choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")
    chunks = list(openai.chat.completions.create(**options, stream=True))
    [delta] = [each for chunk in chunks for each in chunk.choices[0].delta.tool_calls or []]
    assert delta.function is not None
    assert delta.function.arguments == call.function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    # the client's own message and the result of the tool, given back
    back: Any = [
        *HELLO,
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    again = openai.chat.completions.create(
        model="tooled", messages=back, tools=TOOLS, tool_choice="auto", max_tokens=4
    )
    assert again.choices[0].finish_reason in ("length", "stop")


def test_a_template_without_tools_is_a_400(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="does not support tools") as caught:
        openai.chat.completions.create(model="chat", messages=HELLO, tools=TOOLS)
    assert caught.value.body == {
        "message": "the chat template of the model 'chat' does not support tools",
        "type": "invalid_request_error",
        "param": "tools",
        "code": "invalid_value",
    }


def test_a_rag_answers_with_its_sources(openai: OpenAI, client: httpx.Client) -> None:
    messages: Any = [*HELLO, {"role": "user", "content": QUESTION}]
    made = openai.chat.completions.create(model="rag_query", messages=messages)
    message = made.choices[0].message
    [annotation] = message.annotations or []
    cited = annotation.url_citation
    assert (message.content or "")[cited.start_index : cited.end_index] == PASSAGE[:25]
    assert cited.title == "Refunds"
    page = client.get(cited.url)
    assert page.status_code == 200
    assert PASSAGE in page.text
    chunks = list(openai.chat.completions.create(model="rag_query", messages=messages, stream=True))
    deltas = [chunk.choices[0].delta.model_dump() for chunk in chunks]
    [found] = [delta["annotations"] for delta in deltas if delta.get("annotations")]
    assert found == [annotation.model_dump()]
    assert "".join(delta["content"] or "" for delta in deltas) == message.content


def test_an_unknown_model_is_a_404_before_a_stream_starts(openai: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        openai.chat.completions.create(model="none", messages=HELLO, stream=True)
    assert caught.value.code == "model_not_found"
    with pytest.raises(BadRequestError, match="has no chat template") as refused:
        openai.chat.completions.create(model="plain", messages=HELLO, stream=True)
    assert "/" not in refused.value.message.partition("'message'")[2].partition("'type'")[0]


def test_generations_are_batched_together(openai: OpenAI, server: Server) -> None:
    scheduler = server.app.models["chat"]._parts().scheduler
    most = 0
    entered = threading.Barrier(4)

    def ask(_: int) -> None:
        nonlocal most
        entered.wait(30)
        for _chunk in openai.chat.completions.create(
            model="chat", messages=HELLO, max_tokens=200, stream=True, logit_bias={"2": -100}
        ):
            most = max(most, scheduler.running)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    assert most > 1


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_ends_the_generation(
    client: httpx.Client, server: Server, streamed: bool
) -> None:
    generator = server.app.models["chat"]
    scheduler = generator._parts().scheduler
    until(lambda: scheduler.running == 0)
    batch = scheduler._batch
    decode = batch.decode
    steps: list[None] = []

    def slow() -> None:
        sleep(0.05)  # a second for 20 of the 230 tokens
        steps.append(None)
        decode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "decode", slow)
        bias = {"0": -100, "2": -100}
        body = {"model": "chat", "messages": HELLO, "stream": streamed, "logit_bias": bias}
        if streamed:
            with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                next(answer.iter_lines())
                until(lambda: scheduler.running == 1)  # the headers may come before its prefill
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/chat/completions", json=body, timeout=0.5)
        until(lambda: scheduler.running == 0)
    assert len(steps) < 100  # it did not run to its end


def test_a_generator_that_fails_ends_its_stream_without_done(
    client: httpx.Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = server.app.models["chat"]._parts().scheduler._batch
    steps = []
    decode = batch.decode

    def fail() -> None:
        steps.append(1)
        if len(steps) > 3:
            raise RuntimeError("a secret path /srv/secret/x")
        decode()

    monkeypatch.setattr(batch, "decode", fail)
    body = {"model": "chat", "messages": HELLO, "stream": True, "logit_bias": {"0": -100}}
    text = client.post("/v1/chat/completions", json=body).text
    last = json.loads(text.strip().splitlines()[-1].removeprefix("data: "))
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert "[DONE]" not in text
    assert "/srv" not in text


def test_a_full_queue_is_a_429_in_openais_form(server: Server, client: httpx.Client) -> None:
    generator = server.app.load_model(DECODERS / "llama", name="narrow", rows=1, queue=1)
    try:
        body = {"model": "narrow", "messages": HELLO, "n": 3, "max_tokens": 2}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["type"] == "rate_limit_error"
        assert client.post("/v1/chat/completions", json={**body, "n": 2}).status_code == 200
    finally:
        server.app.models._models.remove(generator)
        generator.unload()


def test_the_streaming_helper_of_the_client_reads_a_schema(openai: OpenAI) -> None:
    class City(BaseModel):
        model_config = ConfigDict(extra="forbid")
        city: Literal["Rome", "Oslo"]

    with openai.chat.completions.stream(
        model="chat", messages=HELLO, response_format=City
    ) as stream:
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert parsed is not None
    assert parsed.city in ("Rome", "Oslo")


def test_a_drain_ends_open_generations(
    client: httpx.Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = server.app.models["chat"]._parts().scheduler
    decode = scheduler._batch.decode

    def slow() -> None:
        sleep(0.05)
        decode()

    monkeypatch.setattr(scheduler._batch, "decode", slow)
    body = {"model": "chat", "messages": HELLO, "logit_bias": {"0": -100, "2": -100}}
    with ThreadPoolExecutor(2) as pool:
        streamed, whole = (
            pool.submit(client.post, "/v1/chat/completions", json={**body, "stream": stream})
            for stream in (True, False)
        )
        until(lambda: len(server.app.open_streams) == 2)
        until(lambda: scheduler.running == 2)
        server.app.drain()
        lines = streamed.result(30).text.strip().splitlines()
        assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "stream_cancelled"
        assert "data: [DONE]" not in lines
        assert whole.result(30).status_code == 503
