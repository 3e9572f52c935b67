"""An error in a real JupyterLab: one box with the fix, above the user's own frames."""

from __future__ import annotations

import nbformat
import pytest

from tests.browser.lab import JupyterServer, LabPage

pytestmark = pytest.mark.browser

CELL = """from conduit_lab import Lab
lab = Lab("errors", root=".")
topic = lab.load_model("topik.onnx")"""


def test_an_error_has_its_fix_to_copy_and_its_frames_folded(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    (jupyter.root / "topic.onnx").touch()
    jupyter.write_notebook("error.ipynb", [CELL])
    lab_page.open("error.ipynb")
    lab_page.run(0)
    output = lab_page.output(0)
    output.and_(lab_page.page.locator(".jp-RenderedText")).wait_for()

    fix = output.locator("pre", has_text='topic = lab.load_model("topic.onnx")').first
    fix.click()  # selects the whole line
    assert lab_page.page.evaluate("() => getSelection().toString()") == fix.inner_text()
    frames = output.locator("details pre")
    assert not frames.is_visible()
    output.locator("summary").click()
    assert "conduit_lab/models/load.py" in frames.inner_text()
    lab_page.save()
    (_, error) = jupyter.read_outputs("error.ipynb")[0]
    assert error["ename"] == "ModelLoadError"

    notebook = nbformat.read(jupyter.root / "error.ipynb", as_version=4)
    notebook.cells[0].source += "  # written by another: not trusted"
    nbformat.write(notebook, jupyter.root / "copied.ipynb")
    lab_page.open_without_kernel("copied.ipynb")
    copied = lab_page.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output")
    assert copied.locator("details").count() == 1
    assert copied.locator("pre", has_text='topic = lab.load_model("topic.onnx")').count() >= 1
