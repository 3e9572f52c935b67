from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from anthropic import Anthropic
from openai import OpenAI

from conduit_lab import Generator
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.serving.run.thread import Server
from tests.serving.faces.language.desks import make_desk


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, minilm: Embedder) -> Iterator[Server]:
    """A server of the desk with every protocol of language models, and a real embedder."""
    desk = make_desk(tmp_path_factory.mktemp("desk"), "openai", "anthropic", "rerank")
    desk.models.add(minilm)
    with Server(desk, port=0) as server:
        yield server
    for model in desk.models:
        if isinstance(model, Generator):
            model.unload()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def openai(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic(server: Server) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client
