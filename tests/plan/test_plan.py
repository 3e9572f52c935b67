"""The plan's own code runs: in a real notebook kernel, over HTTP, and in an export."""

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

from conduit_lab import Lab
from conduit_lab.export.replay import running
from conduit_lab.models.embedder import Embedder

from .cells import CELLS, PASSAGES

ROOT = Path(__file__).parents[2]
TRY = f"""
import json
for id, text in {PASSAGES!r}.items():
    add_vector({{"id": id, "metadata": {{"content": text}}}})
features = embedder.encode("Where is my parcel?").tolist()
print(json.dumps({{
    "stream": generate({{"prompt": "password parcel"}}).result(),
    "pipeline": analyze_pipeline({{"text": "This is a disgrace, my parcel never came!"}}),
    "vote": dict(vote(features)),
    "predict": dict(prepare({{"features": features}})),
    "search": search_vectors({{"query": "how long is the reset link valid", "top_k": 1}})["results"],
    "rag": rag_query({{"query": "Who pays for the postage of a broken kettle?"}}),
}}))
"""


def check(answers: Any) -> None:
    """What the six pieces must say, wherever they run."""
    chunks = answers["stream"]
    assert [chunk["complete"] for chunk in chunks] == [False, False, True]
    assert chunks[0]["chunk"] == "password (accounts) "
    assert (answers["pipeline"]["category"], answers["pipeline"]["sentiment"]) == ("delivery", "angry")
    assert 0 < answers["pipeline"]["confidence"] <= 1
    assert answers["vote"]["label"] == answers["predict"]["label"] == "delivery"
    assert answers["search"][0]["id"] == "accounts"
    assert answers["search"][0]["content"] == PASSAGES["accounts"]
    assert answers["rag"]["response"] == "We pay the postage when it is broken."
    assert answers["rag"]["sources"][0] == "returns"


def ask(url: str, features: list[float], *, add: bool) -> Any:
    """Ask a server all six pieces over HTTP."""
    with httpx.Client(base_url=url, timeout=60) as client:

        def post(path: str, body: Any) -> Any:
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        if add:
            for id, text in PASSAGES.items():
                post("/vectors/add", {"id": id, "metadata": {"content": text}})
        with connect_sse(client, "POST", "/generate", json={"prompt": "password parcel"}) as source:
            stream = [json.loads(event.data) for event in source.iter_sse()]
        fallback = client.post("/predict", json={"features": features})
        assert fallback.headers["x-conduit-fallback"] == "m1"  # there is no v2.onnx
        return {
            "stream": stream,
            "pipeline": post("/analyze", {"text": "This is a disgrace, my parcel never came!"}),
            "vote": post("/vote", features),
            "predict": fallback.json(),
            "search": post("/vectors/search", {"query": "how long is the reset link valid", "top_k": 1})["results"],
            "rag": post("/rag/query", {"query": "Who pays for the postage of a broken kettle?"}),
        }


@pytest.fixture(scope="module")
def notebook(minilm: Embedder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The cells run in a real kernel that exports its app: (what the cells printed, the folder)."""
    folder = tmp_path_factory.mktemp("plan") / "export"
    setup = f"from pathlib import Path\nROOT = Path({str(ROOT)!r})"
    sources = [setup, *(cell.strip() for cell in CELLS), TRY, f"app.export({str(folder)!r})"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(folder.parent)}}).execute()
    printed = next(o.text for o in book.cells[-2].outputs if o.output_type == "stream" and o.name == "stdout")
    return json.loads(printed), folder


def test_in_a_notebook(notebook: tuple[Any, Path]) -> None:
    check(notebook[0])


def test_over_http(minilm: Embedder) -> None:
    names: dict[str, Any] = {"__name__": "plan", "ROOT": ROOT}
    for cell in CELLS:
        exec(compile(cell, "<cell>", "exec", dont_inherit=True), names)
    lab = names["app"]
    assert isinstance(lab, Lab)
    with lab.serve(port=0) as server, names["docs"]:
        check(ask(server.url, minilm.encode("Where is my parcel?").tolist(), add=True))


@pytest.fixture
def exported(notebook: tuple[Any, Path]) -> Iterator[str]:
    with running(notebook[1]) as port:
        yield f"http://127.0.0.1:{port}"


def test_in_an_export(exported: str, minilm: Embedder) -> None:
    check(ask(exported, minilm.encode("Where is my parcel?").tolist(), add=False))
