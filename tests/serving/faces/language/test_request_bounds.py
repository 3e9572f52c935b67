"""Hostile requests to the protocols: rows 27 to 31 of the faults, and bodies made at random."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHAT: dict[str, Any] = {
    "model": "chat",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 2,
}
COMPLETION: dict[str, Any] = {"model": "plain", "prompt": "hello", "max_tokens": 2}
EMBEDDING: dict[str, Any] = {"model": "minilm", "input": "hello"}
RESPONSE: dict[str, Any] = {"model": "chat", "input": "hello", "max_output_tokens": 2}
MESSAGE: dict[str, Any] = CHAT
COUNT: dict[str, Any] = {"model": "chat", "messages": CHAT["messages"]}
RERANK: dict[str, Any] = {"model": "overlap", "query": "pan", "documents": ["pan", "lid"]}
BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETION,
    "/v1/embeddings": EMBEDDING,
    "/v1/responses": RESPONSE,
    "/v1/messages": MESSAGE,
    "/v1/messages/count_tokens": COUNT,
    "/v1/rerank": RERANK,
}
PATHS = list(BODIES)


def content(value: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": value}]}


IMAGE = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x"}}]
TURNED_DOWN: list[tuple[str, dict[str, Any]]] = [
    # 27: every number has an upper bound
    *(("/v1/chat/completions", {"n": n}) for n in (0, -1, 129, 10**9, 1.5, "2", True)),
    *(("/v1/chat/completions", {"max_tokens": n}) for n in (0, -1, 10**12, 1e12, "1")),
    ("/v1/chat/completions", {"max_completion_tokens": 10**12}),
    ("/v1/chat/completions", {"top_k": 10**12}),
    ("/v1/chat/completions", {"top_logprobs": 21, "logprobs": True}),
    ("/v1/chat/completions", {"temperature": 3}),
    ("/v1/chat/completions", {"top_p": 0}),
    ("/v1/chat/completions", {"seed": 2**64}),
    ("/v1/chat/completions", {"stop": ["a"] * 17}),
    ("/v1/chat/completions", {"stop": "a" * 2000}),
    ("/v1/chat/completions", {"stop": [""]}),
    ("/v1/chat/completions", {"logit_bias": {"1": 101}}),
    ("/v1/chat/completions", {"logit_bias": {"x": 1}}),
    ("/v1/chat/completions", {"logit_bias": {"99999999": 1}}),
    ("/v1/chat/completions", {"tools": [{}] * 129}),
    # an empty list is not an omitted object
    *(("/v1/chat/completions", {"response_format": wrong}) for wrong in ("", 0, False)),
    ("/v1/chat/completions", {"response_format": []}),
    ("/v1/chat/completions", {"stream_options": []}),
    ("/v1/messages", {"output_config": []}),
    ("/v1/responses", {"text": []}),
    ("/v1/responses", {"text": {"format": []}}),
    ("/v1/completions", {"n": 10**9}),
    ("/v1/completions", {"n": 100, "prompt": ["a", "b"]}),
    ("/v1/completions", {"prompt": ["a"] * 129}),
    ("/v1/completions", {"best_of": 5}),
    ("/v1/completions", {"logprobs": 100}),
    ("/v1/completions", {"prompt": [2**40]}),
    ("/v1/completions", {"prompt": [-1]}),
    ("/v1/embeddings", {"dimensions": -1}),
    ("/v1/embeddings", {"dimensions": 10**12}),
    ("/v1/responses", {"max_output_tokens": 10**12}),
    ("/v1/messages", {"max_tokens": 10**12}),
    ("/v1/messages", {"top_k": 10**12}),
    ("/v1/messages", {"stop_sequences": ["a"] * 17}),
    ("/v1/rerank", {"top_n": 10**12}),
    # 28: empty and too many inputs, texts longer than the context
    ("/v1/chat/completions", {"messages": []}),
    ("/v1/chat/completions", content([])),
    ("/v1/chat/completions", content("a " * 5_000_000)),
    ("/v1/completions", {"prompt": "a " * 5_000_000}),
    ("/v1/completions", {"prompt": []}),
    ("/v1/completions", {"prompt": [[]]}),
    ("/v1/embeddings", {"input": ""}),
    ("/v1/embeddings", {"input": []}),
    ("/v1/embeddings", {"input": ["a", ""]}),
    ("/v1/embeddings", {"input": ["a"] * 2049}),
    ("/v1/embeddings", {"input": [1, 2]}),
    ("/v1/responses", {"input": []}),
    ("/v1/responses", {"input": [{"type": "reasoning"}]}),
    ("/v1/messages", {"messages": []}),
    ("/v1/messages", content("a " * 5_000_000)),
    # 29: grammars that are too large
    (
        "/v1/chat/completions",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": {"enum": ["a" * 100] * 1000}},
            }
        },
    ),
    # 30: nothing is fetched
    ("/v1/chat/completions", content(IMAGE)),
    ("/v1/responses", {"input": [{"role": "user", "content": IMAGE}]}),
    ("/v1/messages", content([{"type": "image", "source": {"type": "url", "url": "http://a/"}}])),
    ("/v1/messages", content([{"type": "document", "source": {"type": "url", "url": "file:/"}}])),
    # what would be ignored is refused
    ("/v1/chat/completions", {"functions": [{"name": "a"}]}),
    ("/v1/chat/completions", {"modalities": ["audio"]}),
    ("/v1/responses", {"background": True}),
]


@pytest.mark.parametrize(("path", "change"), TURNED_DOWN)
def test_rows_27_to_30_a_value_out_of_bounds_is_a_400_in_the_form_of_the_protocol(
    client: httpx.Client, path: str, change: dict[str, Any]
) -> None:
    answer = client.post(path, json=BODIES[path] | change)
    assert answer.status_code == 400, answer.text
    assert len(answer.content) < 5000
    check_error(path, answer.json())
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_row_30_an_image_is_named_and_not_fetched(client: httpx.Client, path: str) -> None:
    message = client.post(path, json=BODIES[path] | content(IMAGE)).json()["error"]["message"]
    assert "messages[0].content[0]" in message
    assert "got 'image_url': the models of this server support only text" in message


def check_error(path: str, body: dict[str, Any]) -> None:
    error = body["error"]
    if path.startswith("/v1/messages"):
        assert body["type"] == "error"
        assert set(error) == {"type", "message"}
    else:
        assert set(error) == {"message", "type", "param", "code"}
    assert "/root" not in error["message"] and "/tmp" not in error["message"]
    assert "Traceback" not in error["message"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"a"', b"3", b"{}", b"\xff", b"[" * 10**5]
)
def test_anything_but_a_json_object_is_a_400(client: httpx.Client, path: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code == 400
    check_error(path, answer.json())


@pytest.mark.parametrize("path", PATHS)
def test_row_31_names_of_addresses_and_paths_are_ignored(client: httpx.Client, path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        named = {"api_base": url, "base_url": url, "model_path": "/etc", "provider": {"url": url}}
        assert client.post(path, json=BODIES[path] | named).status_code == 200
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert client.post(path, json=BODIES[path] | {"model": "/etc/passwd"}).status_code == 404


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = (
    *("model", "messages", "prompt", "input", "max_tokens", "max_completion_tokens"),
    *("max_output_tokens", "n", "stop", "seed", "temperature", "top_p", "top_k", "min_p"),
    *("logprobs", "top_logprobs", "logit_bias", "response_format", "tools", "tool_choice"),
    *("stream", "stream_options", "text", "instructions", "system", "stop_sequences"),
    *("truncation", "query", "documents", "top_n", "return_documents", "dimensions"),
    *("encoding_format", "metadata", "output_config", "echo", "best_of", "reasoning", "user"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty"),
)
turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "developer", "?"])},
    optional={
        "content": json_values
        | st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["text", "tool_use", "tool_result", "image_url"])},
                optional={"text": json_values, "input": json_values, "name": json_values},
            ),
            max_size=2,
        ),
        "tool_calls": json_values,
        "tool_call_id": json_values,
        "type": json_values,
    },
)
functions = st.fixed_dictionaries(
    {"type": st.sampled_from(["function", "custom"])},
    optional={
        "name": st.text(max_size=5),
        "parameters": json_values,
        "input_schema": json_values,
        "function": st.fixed_dictionaries(
            {"name": st.text(max_size=5)}, optional={"parameters": json_values}
        ),
    },
)
changes = st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3) | st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["chat", "tooled", "plain", "rag_query", "minilm", "overlap"]),
        "messages": st.lists(turns, max_size=3),
        "input": st.lists(turns, max_size=3),
        "tools": st.lists(functions, max_size=2),
        "stream": st.booleans(),
        "n": st.integers(1, 3),
    },
)


def check_answered(client: httpx.Client, path: str, change: dict[str, Any]) -> None:
    """Ask with a changed body; no body may be a fault of the server."""
    body = {**BODIES[path], **change}
    text = json.dumps(body).encode("utf-8", "replace")
    answer = client.post(path, content=text, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 404), (body, answer.text)
    if answer.status_code != 200:
        check_error(path, answer.json())
    assert '"server_error"' not in answer.text
    assert "event: error" not in answer.text


UNTIMED = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("path", PATHS)
@settings(UNTIMED, max_examples=25)
@given(change=changes)
def test_no_body_is_a_fault_of_the_server(
    client: httpx.Client, path: str, change: dict[str, Any]
) -> None:
    check_answered(client, path, change)


@pytest.mark.long
@pytest.mark.parametrize("path", PATHS)
@settings(UNTIMED, max_examples=200)
@given(change=changes)
def test_none_of_many_bodies_is_a_fault_of_the_server(
    client: httpx.Client, path: str, change: dict[str, Any]
) -> None:
    check_answered(client, path, change)
