"""Progress in a notebook without a front end: what is saved."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

SETUP = """
import threading
%load_ext conduit_lab
from conduit_lab.core import progress as core
core.SHOW_AFTER_SECONDS, core.UPDATE_SECONDS = 0.0, 0.01

def work(steps):
    with core.progress(2, "text", "encode") as job:
        while core._ticker._shown is None:
            threading.Event().wait(0.01)
        job.step(steps)
        if steps < 2:
            raise KeyboardInterrupt
"""
CELLS = [
    SETUP,
    "work(2)",
    "try:\n    work(1)\nexcept KeyboardInterrupt:\n    pass",
    "thread = threading.Thread(target=work, args=(2,)); thread.start(); thread.join()",
]


def test_one_static_line_is_saved_per_job(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    saved = [output for cell in notebook.cells for output in cell.outputs]
    assert [set(output.data) for output in saved] == 3 * [{"text/plain", "text/html"}]
    done, interrupted, of_thread = (output.data["text/plain"] for output in saved)
    assert done.startswith("✓ encode · 2 texts in ")
    assert interrupted.startswith("■ encode · interrupted at 1 of 2 texts after ")
    assert of_thread.startswith("✓ encode · 2 texts in ")
    assert "widgets" not in notebook.metadata
