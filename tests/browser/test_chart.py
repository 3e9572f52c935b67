"""A chart in a notebook that JupyterLab does not trust: its image, its axes and its labels."""

from __future__ import annotations

import nbformat
import pytest
from playwright.sync_api import FloatRect, Locator

from conduit_lab.core.views.line_chart import LineChart
from tests.browser.lab import JupyterServer, LabPage

pytestmark = pytest.mark.browser

LINES = {"dense": [(1, 0.6), (2, 0.8), (3, 1.0)], "lexical": [(1, 0.4), (2, 0.5), (3, 0.6)]}

# JupyterLab lays its panels out some frames after the window has its new size.
SETTLED = """() => {
  const place = document.querySelector(".jp-OutputArea-output img").getBoundingClientRect();
  const now = `${innerWidth} ${place.x} ${place.width}`;
  const frames = window.sameFrames?.now === now ? window.sameFrames.count + 1 : 0;
  window.sameFrames = { now, count: frames };
  return frames > 15;
}"""


def test_a_chart_of_an_untrusted_notebook_follows_its_page(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    chart = LineChart("dense is first for 60%", LINES, "hits", "found", format=".0%")
    shown = nbformat.v4.new_output("display_data", chart._repr_mimebundle_())
    cell = nbformat.v4.new_code_cell("chart", outputs=[shown])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), jupyter.root / "chart.ipynb")
    lab_page.page.set_viewport_size({"width": 1400, "height": 900})
    lab_page.open_without_kernel("chart.ipynb")
    lab_page.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    output = lab_page.output(0)
    image = output.locator("img")
    image.wait_for()

    wide = box(image)["width"]
    for width in (1400, 480):
        lab_page.page.set_viewport_size({"width": width, "height": 900})
        lab_page.page.wait_for_function(SETTLED)
        drawn, cell_box = box(image), box(output)
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
        assert drawn["height"] == 224
        assert 100 < drawn["width"] < cell_box["width"] <= width
        first, last = (middle(output.get_by_text(text, exact=True)) for text in ("1", "3"))
        assert first[0] == pytest.approx(drawn["x"] + 0.024 * drawn["width"], abs=2)
        assert last[0] == pytest.approx(drawn["x"] + 0.976 * drawn["width"], abs=2)
        top = middle(output.get_by_text("100%", exact=True))
        assert top[1] == pytest.approx(drawn["y"] + 10, abs=2)
        assert top[0] < drawn["x"]
        label = box(output.get_by_text("40% → 60%", exact=True))
        assert label["x"] > drawn["x"] + drawn["width"]
        assert label["x"] + label["width"] <= cell_box["x"] + cell_box["width"]
    assert box(image)["width"] < wide


def box(element: Locator) -> FloatRect:
    found = element.bounding_box()
    assert found is not None
    return found


def middle(element: Locator) -> tuple[float, float]:
    place = box(element)
    return place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
