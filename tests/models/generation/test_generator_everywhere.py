"""A generator in the other rooms: loaded by its folder, in the table, in a Rag, served."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from conduit_lab import Embedder, Generator, Lab, Rag, VectorStore, load_model

WRITER = Path(__file__).parent / "decoders" / "llama"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    shutil.copytree(WRITER, tmp_path / "writer")
    lab = Lab("lab", root=tmp_path)
    yield lab
    for model in lab.models:
        if isinstance(model, Generator):
            model.unload()


def test_a_decoder_folder_is_a_generator(lab: Lab) -> None:
    writer = load_model("writer", root=lab.root, lazy=True)
    assert isinstance(writer, Generator)
    assert repr(writer).endswith("not opened)")


def test_generator_is_in_the_table_of_models(lab: Lab) -> None:
    writer = lab.load_model("writer")
    writer.generate("a", max_tokens=3)
    assert lab.models["writer"] is writer
    assert "writer  Generator  cpu" in repr(lab.models)


def test_a_rag_answers_with_it(lab: Lab, minilm: Embedder) -> None:
    writer = lab.load_model("writer")
    with VectorStore(embedder=minilm) as store:
        store.add("a", metadata={"page": 1}, content="Kettles travel back for free.")
        answer = Rag(store, writer, top_k=1, min_score=-1)("Is it free?")
    assert answer["response"] == writer.generate(
        query="Is it free?", context=["Kettles travel back for free."]
    )
    assert [source["page"] for source in answer["sources"]] == [1]


def test_usage_is_not_in_the_headers(lab: Lab) -> None:
    writer = lab.load_model("writer")

    @lab.post("/write")
    def write(prompt: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return writer.generate(prompt, max_tokens=5)

    @lab.ml_stream("/tokens")
    def tokens(prompt: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return writer.stream(prompt, max_tokens=5)

    with TestClient(lab) as client:
        answer = client.post("/write", json={"prompt": "hello"})
        assert answer.json() == writer.generate("hello", max_tokens=5)
        assert "x-conduit-device" not in answer.headers
        assert client.post("/tokens", json={"prompt": "hello"}).text.count("data: ") == 5
