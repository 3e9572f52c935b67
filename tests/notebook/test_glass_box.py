"""The committed notebook on traces: it runs, and shows what its text says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from conduit_lab.models.text.embedder import Embedder

REPOSITORY = Path(__file__).parents[2]
NOTEBOOK = REPOSITORY / "notebooks" / "02_glass_box.ipynb"


def outputs_of(notebook: Any) -> list[str]:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    return [output.get("data", {}).get("text/plain", output.get("text")) for output in outputs]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, minilm: Embedder) -> Iterator[list[str]]:
    root = tmp_path_factory.mktemp("glass_box")
    (root / "pyproject.toml").touch()  # marks the root of a project
    (root / "data").symlink_to(REPOSITORY / "data")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONDUIT_LAB_PROGRESS", "0")  # as in `make notebooks`
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(root)}}).execute()
    yield outputs_of(notebook)


def test_a_misfit_names_both_sides(executed: list[str]) -> None:
    assert "'mood' returns Prediction, 'topic' expects float32 [batch, 384]" in executed[1]


def test_a_rerun_changes_the_mood_alone(executed: list[str]) -> None:
    (diff,) = (text for text in executed if text.startswith("Trace diff"))
    rows = {line.split()[0]: line for line in diff.splitlines()}
    assert "neutral" in rows["mood"]
    assert "pleased" in rows["mood"]
    assert [name for name, row in rows.items() if "kept" in row] == ["minilm", "topic", "vote"]


def test_a_trace_of_plain_python_has_hints(executed: list[str]) -> None:
    (trace,) = (text for text in executed if text.startswith("Trace 'letters'"))
    assert "4 calls of 'minilm' in turn took" in trace


def test_the_compiled_pipeline_reads_one_result_and_answers_the_same(executed: list[str]) -> None:
    assert "mood, vote only when read" in executed[-2]
    assert executed[-1] == "True"


def test_the_committed_outputs_are_those_of_a_run(executed: list[str]) -> None:
    committed = outputs_of(nbformat.read(NOTEBOOK, as_version=4))
    assert [text.split()[:2] for text in committed] == [text.split()[:2] for text in executed]
    assert str(REPOSITORY) not in NOTEBOOK.read_text("utf-8")
