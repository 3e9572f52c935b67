"""A chart in a real JupyterLab: drawn once, within the page, in its text colour, and saved."""

from __future__ import annotations

import base64

import pytest

from tests.browser.lab import JupyterServer, LabPage

pytestmark = pytest.mark.browser

CHART = """
from conduit_lab.models.measure.comparison import Compared, Comparison
from conduit_lab.runtime.measuring.timing import Timing

def row(label, seconds, speed):
    timing = Timing(1, 100, seconds, seconds, seconds)
    return Compared(label, None, 2048, "cpu", timing, speed, True, None)

comparison = Comparison([row("fp32", 12e-6, 1.0), row("int8", 5e-6, 2.4)])
comparison.chart
"""


@pytest.mark.parametrize("width", [480, 1400])
def test_a_chart_is_drawn_and_the_page_goes_on(
    lab_page: LabPage, jupyter: JupyterServer, width: int
) -> None:
    jupyter.write_notebook("chart.ipynb", [CHART, "comparison"])
    lab_page.page.set_viewport_size({"width": width, "height": 900})
    lab_page.open("chart.ipynb")
    lab_page.page.evaluate(
        "() => window.jupyterapp.commands.execute('application:toggle-left-area')"
    )
    lab_page.run_to_end(0)
    output = lab_page.output(0)
    drawn = output.locator("svg.marks")
    drawn.wait_for()

    shown = drawn.locator("text").all_text_contents()
    assert shown == ["fp32", "int8", "12.0 µs", "5.00 µs · 2.40 ×", *shown[4:]]
    assert "int8 is 2.40 times as fast as fp32" in shown
    place, frame = drawn.bounding_box(), output.bounding_box()
    assert place is not None
    assert frame is not None
    assert place["width"] <= frame["width"]
    title = drawn.locator("text", has_text="times as fast")
    colour = title.evaluate("element => getComputedStyle(element).fill")
    assert colour == output.evaluate("element => getComputedStyle(element).color")

    lab_page.run_to_end(1)  # a page that draws for ever does not come to this
    assert "fp32" in lab_page.output(1).inner_text()
    lab_page.save()
    ((saved,), _) = jupyter.read_outputs("chart.ipynb")
    assert base64.b64decode(saved["data"]["image/png"]).startswith(b"\x89PNG")


def test_a_comparison_shows_its_table_and_its_chart(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    jupyter.write_notebook(
        "both.ipynb", ["from conduit_lab import Lab\nlab = Lab('both')", CHART, "comparison"]
    )
    lab_page.open("both.ipynb")
    for cell in range(3):
        lab_page.run_to_end(cell)
    output = lab_page.output(2)
    output.locator("svg.marks").wait_for()
    assert output.locator("table").count() == 1
