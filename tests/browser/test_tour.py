"""The tour in a real JupyterLab, as a newcomer runs it: cell by cell, up to its live stream."""

from __future__ import annotations

import nbformat
import pytest
from playwright.sync_api import expect

from conduit_lab.models.text.embedder import Embedder
from tests.browser.lab import REPOSITORY, JupyterServer, LabPage
from tests.browser.test_stream_cell import WATCH
from tests.project import make_project

pytestmark = pytest.mark.browser


def test_the_stream_of_the_tour_grows_live_and_survives(
    lab_page: LabPage, jupyter: JupyterServer, minilm: Embedder
) -> None:
    tour = nbformat.read(REPOSITORY / "notebooks/01_tour.ipynb", as_version=4)
    stream = next(i for i, cell in enumerate(tour.cells) if 'ml_stream("/triage")' in cell.source)
    for cell in tour.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    make_project(jupyter.root)
    nbformat.write(tour, jupyter.root / "tour.ipynb")

    lab_page.open("tour.ipynb")
    for i in range(stream):
        lab_page.run_to_end(i)
    expect(lab_page.page.locator(".conduit-stream")).to_have_count(
        0
    )  # an answer before it may still be written
    lab_page.page.evaluate(WATCH)
    lab_page.run(stream)
    lab_page.page.locator(".conduit-stream").wait_for()
    lab_page.page.locator(".conduit-stream").wait_for(state="detached")

    texts: list[str] = lab_page.page.evaluate("window.texts")
    assert len({len(text) for text in texts}) >= 3
    output = lab_page.output(stream)
    shown = output.inner_text()
    assert "triage · ✓ done" in shown
    assert all(topic in shown for topic in ("delivery", "returns", "warranty"))

    lab_page.save()
    lab_page.shut_kernel_down()
    lab_page.open_without_kernel("tour.ipynb")
    lab_page.page.evaluate(
        f"() => window.jupyterapp.shell.currentWidget.content.scrollToItem({stream})"
    )
    output.get_by_text("triage").wait_for()
    assert output.inner_text() == shown
