"""An explorer in a real JupyterLab: typed into, lassoed, read from Python, saved."""

from __future__ import annotations

import pytest

from tests.browser.lab import JupyterServer, LabPage

pytestmark = pytest.mark.browser

SETUP = """
import numpy as np
from conduit_lab import VectorStore
from conduit_lab.notebook.views import register
register()

class Letters:
    dimension = 4
    name = "letters"
    def encode(self, texts):
        if isinstance(texts, str):
            return self.encode([texts])[0]
        return np.array([[text.count(c) for c in "abcd"] for text in texts], np.float32)

HOSTILE = "<img src=x onerror=window.broken=1>"
store = VectorStore(embedder=Letters(), name="letters " + HOSTILE)
texts = [f"{HOSTILE} {'ab'[i % 2] * (3 + i % 5)}{'cd'[i % 3 % 2]}" for i in range(40)]
kinds = [{"kind": "ab"[i % 2] + HOSTILE, "title": f"entry {i} {HOSTILE}"} for i in range(40)]
_ = store.add_texts(texts, kinds, [f"doc.md#{i}" for i in range(40)])
"""
CELLS = [SETUP, "explorer = store.explore()\nexplorer", "print(len(explorer.selection))"]
INKED = """() => {
    const canvas = document.querySelectorAll(".conduit-explorer-map canvas")[0];
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return data.some((value) => value > 0);
}"""


def test_an_explorer_is_searched_lassoed_and_saved(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    jupyter.write_notebook("explorer.ipynb", CELLS)
    lab_page.open("explorer.ipynb")
    lab_page.run_to_end(0)
    lab_page.run_to_end(1)
    page = lab_page.page
    chips = page.locator(".conduit-explorer-chip")
    chips.first.wait_for()
    page.wait_for_function(INKED)

    box = page.locator(".conduit-explorer-query")
    box.press_sequentially("aaac")
    page.get_by_text("10 hits").wait_for()
    rows = page.locator(".conduit-explorer-row")
    assert rows.count() == 10
    assert "<img src=x" in rows.first.inner_text()
    page.locator(".conduit-explorer-own").wait_for()
    box.press("ArrowDown")
    assert page.evaluate("document.activeElement.className").endswith("conduit-explorer-row")

    page.get_by_label("Colour by").select_option("kind")
    page.get_by_role("button", name="a<img").first.click()
    page.get_by_text("where={'kind': 'a<img").wait_for()
    page.get_by_role("button", name="a<img").first.click()

    overlay = page.locator(".conduit-explorer-map canvas").nth(1)
    overlay.scroll_into_view_if_needed()
    place = overlay.bounding_box()
    assert place is not None
    left, top, right, bottom = (
        place["x"] + 2,
        place["y"] + 2,
        place["x"] + place["width"] - 2,
        place["y"] + place["height"] - 2,
    )
    page.keyboard.down("Shift")
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(x, y)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.get_by_text("40 entries selected").wait_for()
    lab_page.run_to_end(2)
    assert lab_page.output(2).inner_text().strip() == "40"

    overlay.press("Escape")
    page.get_by_text("10 hits").wait_for()
    lab_page.run_to_end(2)
    assert lab_page.output(2).inner_text().strip() == "0"
    assert page.evaluate("window.broken") is None

    lab_page.save()
    ((saved,),) = jupyter.read_outputs("explorer.ipynb")[1:2]
    assert set(saved["data"]) == {"text/html", "text/plain"}
    lab_page.shut_kernel_down()
    lab_page.open_without_kernel("explorer.ipynb")
    output = lab_page.output(1)
    output.locator("img[src^='data:image/png']").wait_for()
    assert "40 entries" in output.inner_text()
    assert page.evaluate("window.broken") is None
