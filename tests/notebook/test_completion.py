"""Tab in a notebook: the keywords of a call, the keys of a lab, the public names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter

import conduit_lab
from conduit_lab import Embedder, Generator, Lab, SamplingOptions

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

    writer = Generator(Path("/models/writer"))
    names: dict[str, Any] = {"lab": lab, "ask": ask, "writer": writer, "conduit_lab": conduit_lab}
    names["embedder"] = Embedder(Path("/models/minilm"))
    completer = IPCompleter(namespace=names, use_jedi=request.param)
    completer.disable_matchers = ["IPCompleter.magic_matcher"]  # it needs a shell

    def complete(text: str) -> set[str]:
        with provisionalcompleter():
            return {each.text.lstrip(".") for each in completer.completions(text, len(text))}

    yield complete
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


def test_a_lab_completes_its_keys(complete: Complete) -> None:
    assert complete('lab.models["') == {"length"}
    assert complete('lab.stores["') == {"handbook"}


def test_the_package_completes_its_public_names(complete: Complete) -> None:
    assert complete("conduit_lab.") == set(conduit_lab.__all__)


def test_a_model_lists_only_its_own_methods() -> None:
    names = dir(Embedder(Path("/models/minilm")))
    assert "encode" in names
    assert not {"predict", "generate", "score"} & {*names}
