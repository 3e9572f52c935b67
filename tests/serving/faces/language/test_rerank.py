"""Rerank in the form of Cohere and Jina, on a small real cross-encoder."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

from conduit_lab import App
from tests.serving.conftest import Ask

BODY: dict[str, Any] = {
    "model": "overlap",
    "query": "kettle lid",
    "documents": ["pan", {"text": "lid"}, "a kettle and a lid"],
}


def test_documents_are_ranked_by_their_relevance(client: httpx.Client) -> None:
    answer = client.post("/v1/rerank", json=BODY).json()
    assert [result["index"] for result in answer["results"]] == [2, 1, 0]
    for result, score in zip(answer["results"], (6, 1, 0), strict=True):
        assert result["relevance_score"] == pytest.approx(1 / (1 + math.exp(-score)))
        assert "document" not in result
    assert answer["model"] == "overlap"


def test_top_n_and_the_documents(client: httpx.Client) -> None:
    body = {**BODY, "top_n": 2, "return_documents": True}
    results = client.post("/v1/rerank", json=body).json()["results"]
    assert [result["document"] for result in results] == [
        {"text": "a kettle and a lid"},
        {"text": "lid"},
    ]


def test_the_only_reranker_needs_no_name(client: httpx.Client) -> None:
    body = {key: value for key, value in BODY.items() if key != "model"}
    assert client.post("/v1/rerank", json=body).json()["model"] == "overlap"


def test_a_model_that_is_no_reranker_is_a_404(client: httpx.Client, app: App, asking: Ask) -> None:
    answer = client.post("/v1/rerank", json={**BODY, "model": "minilm"})
    assert answer.status_code == 404
    assert "no reranker 'minilm'" in answer.json()["error"]["message"]
    app.protocols = ("rerank",)
    none = asking(app).post("/v1/rerank", json=BODY)
    assert none.json()["error"]["message"] == "this server has no reranker"


@pytest.mark.parametrize(
    "change",
    [
        {"documents": []},
        {"documents": [3]},
        {"documents": ["a"] * 1001},
        {"documents": [{"image": "http://127.0.0.1/"}]},
        {"query": ""},
        {"query": None},
        {"top_n": 0},
        {"top_n": 10**12},
    ],
)
def test_anything_else_is_a_400(client: httpx.Client, change: dict[str, Any]) -> None:
    answer = client.post("/v1/rerank", json=BODY | change)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_pair_that_is_cut_is_reported(client: httpx.Client) -> None:
    assert "x-conduit-truncated" not in client.post("/v1/rerank", json=BODY).headers
    body = {**BODY, "documents": ["pan", "lid " * 100_000]}
    assert client.post("/v1/rerank", json=body).headers["x-conduit-truncated"] == "1"
