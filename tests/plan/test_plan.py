"""The cells of `plan_cells.py` in a real kernel, over HTTP and as an exported folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from httpx_sse import connect_sse
from nbclient import NotebookClient

from conduit_lab import Lab, VectorStore
from conduit_lab.export.agreement import difference
from conduit_lab.export.clean_world import running
from conduit_lab.models.text.embedder import Embedder
from tests.plan.plan_cells import CELLS, PASSAGES, TRIED

REPO = Path(__file__).parents[2]
SECONDS = 60.0


@pytest.fixture(scope="module")
def kernel(
    minilm: Embedder, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path, str]:
    """The answers in a real kernel, the exported folder, and the output of the export's cell."""
    place = tmp_path_factory.mktemp("plan")
    folder = place / "exported"
    cells = [f"ROOT = {str(REPO)!r}", *CELLS, TRIED, f"app.export({str(folder)!r})"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(place / name.lower()))
        patch.setenv("PYTHONPATH", str(REPO))
        NotebookClient(
            notebook, timeout=120, resources={"metadata": {"path": str(place)}}
        ).execute()
    printed = "".join(
        o.text
        for o in notebook.cells[-2].outputs
        if o.output_type == "stream" and o.name == "stdout"
    )
    shown = next(
        o.data["text/plain"]
        for o in notebook.cells[-1].outputs
        if o.output_type == "execute_result"
    )
    return json.loads(printed), folder, shown


@pytest.fixture(scope="module")
def served(minilm: Embedder) -> Iterator[httpx.Client]:
    """The same cells in this process, with the Lab on a real port."""
    names: dict[str, Any] = {"__name__": "cells", "ROOT": str(REPO)}
    for cell in CELLS:
        exec(compile(cell, "<cell>", "exec", dont_inherit=True), names)
    app = names["app"]
    assert isinstance(app, Lab)
    with app.serve(port=0) as server, httpx.Client(base_url=server.url, timeout=SECONDS) as client:
        for name, text in PASSAGES.items():
            body = {"id": name, "text": text, "metadata": {"part": name}}
            assert client.post("/vectors/add", json=body).json()["id"] == name
        yield client
    store = names["store"]
    assert isinstance(store, VectorStore)
    store.close()


@pytest.fixture(scope="module")
def exported(kernel: tuple[dict[str, Any], Path, str]) -> Iterator[httpx.Client]:
    """The exported folder in a fresh process."""
    with (
        running(kernel[1]) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client,
    ):
        yield client


@pytest.fixture(params=["served", "exported"])
def client(request: pytest.FixtureRequest) -> httpx.Client:
    client = request.getfixturevalue(request.param)
    assert isinstance(client, httpx.Client)
    return client


@pytest.fixture(scope="module")
def answers(kernel: tuple[dict[str, Any], Path, str]) -> dict[str, Any]:
    return kernel[0]


@pytest.fixture(scope="module")
def features(minilm: Embedder) -> list[float]:
    return minilm.encode("where is my parcel").tolist()  # type: ignore[no-any-return]


def same(wanted: Any, answer: httpx.Response) -> None:
    assert answer.status_code == 200, answer.text
    assert difference(wanted, answer.json(), "tolerance") is None


def test_the_stream_ends_with_a_complete_chunk(
    client: httpx.Client, answers: dict[str, Any]
) -> None:
    with connect_sse(client, "POST", "/generate", json={"prompt": "parcel password"}) as source:
        chunks = [json.loads(event.data) for event in source.iter_sse()]
    assert chunks == answers["generate"]
    assert [chunk["complete"] for chunk in chunks] == [False, False, True]
    assert chunks[0]["chunk"].startswith("parcel: ")


def test_the_pipeline_finds_category_sentiment_and_a_confidence_of_both(
    client: httpx.Client, answers: dict[str, Any]
) -> None:
    answer = client.post("/analyze", json={"text": "The kettle is dead and nobody answers."})
    same(answers["analyze"], answer)
    found = answer.json()
    assert found["category"]["label"] in found["category"]["probabilities"]
    wanted = 0.6 * found["category"]["score"] + 0.4 * found["sentiment"]["score"]
    assert found["confidence"] == pytest.approx(wanted)


def test_the_ensemble_votes(
    client: httpx.Client, answers: dict[str, Any], features: list[float]
) -> None:
    same(answers["vote"], client.post("/vote", json=features))
    assert answers["vote"]["label"] == "delivery"


def test_the_fallback_answers_for_the_model_that_is_not_there(
    client: httpx.Client, answers: dict[str, Any], features: list[float]
) -> None:
    answer = client.post("/predict", json={"features": features})
    same(answers["predict"], answer)
    assert answer.headers["x-conduit-fallback"] == "m1"


def test_vectors_are_found_again(client: httpx.Client, answers: dict[str, Any]) -> None:
    answer = client.post("/vectors/search", json={"query": "my kettle is broken", "top_k": 2})
    same(answers["search"], answer)
    best = answer.json()["results"][0]
    assert (best["id"], best["content"], best["metadata"]["part"]) == (
        "kettle",
        PASSAGES["kettle"],
        "kettle",
    )


def test_a_vector_that_is_added_over_http_is_found(client: httpx.Client) -> None:
    # far from the other questions, so that their answers do not change
    added = client.post("/vectors/add", json={"id": "moon", "text": "The moon circles the earth."})
    assert added.json() == {"id": "moon", "count": len(PASSAGES) + 1}
    found = client.post(
        "/vectors/search", json={"query": "what circles the earth", "top_k": 1}
    ).json()
    assert found["results"][0]["id"] == "moon"


def test_rag_answers_from_its_sources(client: httpx.Client, answers: dict[str, Any]) -> None:
    answer = client.post("/rag/query", json={"query": "How long does a parcel take?"})
    same(answers["rag"], answer)
    assert answer.json()["response"] == "A parcel takes three days."
    assert answer.json()["sources"][0]["id"] == "parcel"


def test_the_export_was_proved_and_is_readable(kernel: tuple[dict[str, Any], Path, str]) -> None:
    _, folder, shown = kernel
    assert "A fresh process gives the same answer to" in shown
    assert "POST /rag/query" in shown
    source = (folder / "app.py").read_text("utf-8")
    assert "# how much the category weighs in the confidence\nCATEGORY_WEIGHT = 0.6" in source
    assert "class BestSentence:" in source
    assert str(REPO) not in source
    assert not (folder / "data/models/v2.onnx").exists()
