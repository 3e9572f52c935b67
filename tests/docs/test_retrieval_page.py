"""The code of docs/retrieval.md runs, and its table has the handbook's figures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab.core import paths
from conduit_lab.models.text.embedder import Embedder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "retrieval.md").read_text("utf-8")

Names = dict[str, Any]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, minilm: Embedder) -> Iterator[Names]:
    """The names that the page's code defines, run beside the handbook and the embedding model."""
    for package in ("pandas", "qdrant_client", "semantic_text_splitter"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(minilm.path, folder / "data" / "models" / "minilm")
    for part in ("handbook", "models/writer"):
        shutil.copytree(ROOT / "data" / part, folder / "data" / part)
    shutil.copy(ROOT / "data" / "questions.csv", folder / "data")
    names: Names = {}
    with pytest.MonkeyPatch.context() as patch, paths.use_root(folder):
        patch.chdir(folder)
        for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
            exec(compile(block, "retrieval.md", "exec"), names)
        yield names
        for store in ("notes", "handbook", "served", "remote"):
            names[store].close()
        names["writer"].unload()


def found(page: Names, text: str, **how: Any) -> list[str]:
    return [hit.content for hit in page["handbook"].search(text, **how)]


def test_the_comments_are_true(page: Names) -> None:
    assert (
        page["notes"].search("How long may I keep it?", top_k=1)[0].content
        == "Send it back within 30 days."
    )
    assert len(list(page["notes"].entries(where={"section": "returns"}))) == 1
    assert len(page["served"]) == len(page["handbook"])


def test_an_answer_names_its_sources(page: Names) -> None:
    answer = page["ask"]("How long does a refund take?")
    assert answer["response"]
    first = answer["sources"][0]
    text = (ROOT / first["source"]).read_text("utf-8")
    assert text[slice(*first["span"])] == first["text"]
    assert page["ask"]("Who won the football match?") == {
        "response": "I do not know.",
        "sources": [],
    }


def test_lexical_and_hybrid_search_find_a_part_number(page: Names) -> None:
    for mode in ("lexical", "hybrid"):
        assert "KH-12" in found(page, "hinge KH-12 for the kettle", mode=mode)[0]


def test_the_table_of_modes_is_measured(page: Names) -> None:
    rows = re.findall(r"^\| (lexical|dense|hybrid) \|(.*)\|$", PAGE, re.MULTILINE)
    table = {mode: [float(cell.strip(" *")) for cell in cells.split("|")] for mode, cells in rows}
    assert len(page["quality"].summary) == len(table) == 3
    for each in page["quality"].summary:
        first, _, *rest = table[each.mode][:5]
        # the last digits of embeddings depend on the machine, which may reorder a few hits
        assert [each.first, each.recall, each.mrr, each.ndcg] == pytest.approx(
            [first, *rest], abs=0.02
        ), each.mode


def test_the_page_counts_the_questions(page: Names) -> None:
    lines = (ROOT / "data" / "questions.csv").read_text("utf-8").splitlines()
    asked = page["quality"].summary[0].questions
    assert f"{asked} questions that the handbook answers" in PAGE
    assert f"and {len(lines) - 1 - asked} that it does not" in PAGE


def test_the_server_finds_what_the_store_finds(page: Names) -> None:
    query = {"query": "my kettle is broken", "top_k": 3, "where": {"section": "repairs"}}
    assert [hit.id for hit in page["remote"].search(**query)] == [
        hit.id for hit in page["handbook"].search(**query)
    ]
