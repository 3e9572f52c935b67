"""A notebook that nobody watches: what nbclient saves of a stream's cell."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

SETUP = """
from time import sleep
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.views import register
register()

def story():
    for number in range(20):
        sleep(0.05)
        yield f"chunk {number} "
"""


def test_the_executed_notebook_holds_the_final_static_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(place, str(tmp_path / place.lower()))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    cells = [
        SETUP,
        "story = Stream(story(), name='story')\nstory",
        "assert not story.finished",
        "story.result()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])

    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()

    (output,) = notebook.cells[1].outputs
    assert set(output.data) == {"text/html", "text/plain"}
    assert "✓ done · 20 chunks" in output.data["text/plain"]
    assert "chunk 19" in output.data["text/html"]
    assert "widgets" not in notebook.metadata
