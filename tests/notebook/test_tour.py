"""The committed tour, its run and its export, which answers and is measured as in `make demo`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from conduit_lab import demo
from conduit_lab.export.clean_world import running

REPOSITORY = Path(__file__).parents[2]
TOUR = REPOSITORY / "notebooks" / "01_tour.ipynb"


@pytest.fixture(scope="module")
def served(tour: Any) -> Iterator[tuple[int, Path]]:
    """The port and the folder of the app that the tour exported."""
    folder = tour[1] / "build" / "tour"
    with running(folder) as port:
        yield port, folder


def _code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_tour_runs_and_its_export_answers_the_same(tour: Any) -> None:
    notebook, root = tour
    last = _code_cells(notebook)[-1].outputs[0]["data"]["text/plain"]
    assert "POST /triage" in last
    assert "same" in last
    assert (root / "build" / "tour" / "manifest.json").is_file()


def test_the_committed_outputs_are_static_and_whole() -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    outputs = [output for cell in _code_cells(notebook) for output in cell.outputs]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert kinds == {"text/plain", "text/html"}
    assert not [output for output in outputs if output.output_type in ("error", "stream")]
    assert "widgets" not in notebook.metadata
    assert str(REPOSITORY) not in nbformat.writes(notebook)


def test_the_committed_notebook_is_the_one_that_was_run(tour: Any) -> None:
    committed = _code_cells(nbformat.read(TOUR, as_version=4))
    assert [bool(cell.outputs) for cell in committed] == [
        bool(cell.outputs) for cell in _code_cells(tour[0])
    ]
    assert [cell.execution_count for cell in committed] == list(range(1, len(committed) + 1))


def test_the_demo_asks_every_kind_of_endpoint(served: tuple[int, Path]) -> None:
    rows = demo._ask_everything(*served)
    asked = [row[0] for row in rows if row[0]]
    assert asked == [
        "prediction /predict",
        "pipeline /analyze",
        "ensemble /vote",
        "search /search",
        "stream /triage",
    ]
    assert len(rows) == 4 + 4  # the letter has four sentences
    assert rows[1][2].startswith("returns")


def test_the_demo_measures_every_target_of_the_plan(served: tuple[int, Path]) -> None:
    rows = demo._measure(*served)
    assert [row[1] for row in rows] == [
        "< 100 ms",
        "≥ 1 000",
        "< 10.0 ms",
        "< 5.00 MB",
        "< 10.0 ms",
        "< 1.00 ms",
        "< 5.00 ms",
    ]
    assert all(row[3] in ("✓ reached", "✕ missed") for row in rows)


def test_the_demo_names_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "build").mkdir()
    broken = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("raise ValueError('no kettle')")]
    )
    nbformat.write(broken, tmp_path / "broken.ipynb")
    monkeypatch.chdir(tmp_path)
    assert demo.run_demo(Path("broken.ipynb")) == 1
    assert "a cell of broken.ipynb failed: ValueError: no kettle" in capsys.readouterr().err
