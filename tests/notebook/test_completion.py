"""Tab in a notebook: the keywords of a call, the keys of a lab, the public names."""

from __future__ import annotations

import pydoc
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import conduit_lab
from conduit_lab import Embedder, Generator, Lab, SamplingOptions, Stream
from conduit_lab.serving.server_state import ServerState

Complete = Callable[[str], set[str]]


@pytest.fixture(params=[True, False], ids=["jedi", "plain"])
def complete(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Complete]:
    lab = Lab("demo", root=tmp_path)
    for function in (len, str):
        lab.load_model(function, name="length")
    lab.vector_store("handbook", dimension=2)

    @lab.post("/ask")
    def ask(question: str, top_k: int = 3) -> str:
        return question

    ask("a")
    go = Event()
    server = ServerState()
    server.open_streams.add(Stream((go.wait(10) for _ in range(1)), name="begun"))
    lab._lives.states.add(server)
    writer = Generator(Path("/models/writer"))
    names: dict[str, Any] = {"lab": lab, "ask": ask, "writer": writer, "conduit_lab": conduit_lab}
    names |= {"examples": lab.examples, "streams": lab.streams, "trace": ask.trace}
    names["embedder"] = Embedder(Path("/models/minilm"))
    completer = IPCompleter(namespace=names, use_jedi=request.param)
    completer.disable_matchers = ["IPCompleter.magic_matcher"]  # it needs a shell

    def complete(text: str) -> set[str]:
        with provisionalcompleter():
            return {each.text.lstrip(".") for each in completer.completions(text, len(text))}

    yield complete
    go.set()
    lab.stores["handbook"].close()


SAMPLING = {f"{field.name}=" for field in fields(SamplingOptions)}


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        ('writer.generate("x", ', SAMPLING | {"choices=", "truncate=", "sampling="}),
        ('writer.stream("x", ', SAMPLING | {"query=", "context="}),
        ("writer.chat([], ", SAMPLING | {"json_schema="}),
        ('lab.load_model("x", ', {"device=", "labels=", "variant=", "name=", "kind="}),
        ("ask(", {"question=", "top_k="}),
    ],
)
def test_a_call_offers_its_keywords(complete: Complete, text: str, keywords: set[str]) -> None:
    offered = complete(text)
    assert keywords <= offered
    assert not offered & {"options=", "root=", "lazy=", "args=", "kwargs="}


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('lab.models["', {"length"}),
        ('lab.stores["', {"handbook"}),
        ('lab.endpoints["', {"/ask"}),
        ('examples["', {"/ask"}),  # IPython reads no property
        ('streams["', {"begun"}),
        ('trace["', {"ask"}),
    ],
)
def test_a_lab_completes_its_keys(complete: Complete, text: str, keys: set[str]) -> None:
    assert complete(text) == keys


def test_an_endpoint_is_documented_as_its_function(tmp_path: Path) -> None:
    lab = Lab("demo", root=tmp_path)

    @lab.post("/ask")
    def ask(question: str, top_k: int = 3) -> str:
        """Answer a question."""
        return question

    @lab.get("/bare")
    def bare(n: int) -> int:
        return n

    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    found = shell.inspector.info(ask, oname="ask")
    assert found["definition"].replace("'", "") == "ask(question: str, top_k: int = 3) -> str"
    assert found["docstring"] == "Answer a question."
    for endpoint, doc in ((ask, "Answer a question."), (bare, "Answer GET /bare.")):
        shown = pydoc.plain(pydoc.render_doc(endpoint))
        assert repr(endpoint) in shown
        assert doc in shown
        assert "class Endpoint" not in shown


def test_the_package_completes_its_public_names(complete: Complete) -> None:
    assert complete("conduit_lab.") == set(conduit_lab.__all__)


def test_a_model_lists_only_its_own_methods() -> None:
    names = dir(Embedder(Path("/models/minilm")))
    assert "encode" in names
    assert not {"predict", "generate", "score"} & {*names}
