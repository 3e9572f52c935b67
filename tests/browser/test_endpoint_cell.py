"""An endpoint as a cell's value in a real JupyterLab: its form runs in the kernel."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.lab import PAGE_TIMEOUT, JupyterServer, LabPage

pytestmark = pytest.mark.browser

CELLS = [
    "import threading\nfrom typing import Literal\nfrom conduit_lab import Lab\n"
    "lab = Lab('desk')\ngo_on = threading.Event()\n"
    "@lab.post('/price')\n"
    "def price(item: str, count: int = 1, kind: Literal['new', 'used'] = 'new'):\n"
    '    """The price <img src=x onerror="window.hit=1"> of an item."""\n'
    "    return {'item': item, 'count': count, 'kind': kind, 'html': '<b>x</b>'}\n"
    "@lab.ml_stream('/spell')\n"
    "def spell(text: str):\n    yield from text\n    go_on.wait(60)\n    yield '!'",
    "price",
    "spell",
    "len(lab.examples)",
]


def test_a_form_runs_in_the_kernel(lab_page: LabPage, jupyter: JupyterServer) -> None:
    expect.set_options(timeout=PAGE_TIMEOUT)
    jupyter.write_notebook("endpoint.ipynb", CELLS)
    lab_page.open("endpoint.ipynb")
    for cell in range(3):
        lab_page.run_to_end(cell)

    form = lab_page.output(1)
    item = form.get_by_label("item", exact=True)
    item.click()
    lab_page.page.keyboard.type("a bad jar")  # letters that are commands of a notebook
    expect(item).to_have_value("a bad jar")
    form.get_by_text("used", exact=True).click()
    expect(form.locator(".conduit-form-source")).to_have_text(
        'price(item="a bad jar", count=1, kind="used")'
    )
    item.press("Control+Enter")
    status = form.locator(".conduit-form-status")
    expect(status).to_contain_text(re.compile("✓ done · [0-9.]+ ms"))
    answer = form.locator(".conduit-form-answer")
    expect(answer).to_contain_text('item: "a bad jar"')
    expect(answer).to_contain_text('kind: "used"')
    expect(answer).to_contain_text('html: "<b>x</b>"')
    form.get_by_text("trace", exact=True).click()
    expect(form.locator(".conduit-endpoint-trace")).to_contain_text("price")
    assert lab_page.page.evaluate("window.hit") is None

    stream = lab_page.output(2)
    stream.get_by_label("text", exact=True).fill("kettle")
    stream.get_by_role("button", name="Run").click()
    expect(stream.locator(".conduit-form-stream")).to_have_text("kettle")
    stream.get_by_role("button", name="Stop").click()
    expect(stream.locator(".conduit-form-status")).to_contain_text("■ cancelled · 6 chunks")

    lab_page.run_to_end(3)
    expect(lab_page.output(3)).to_have_text("1")  # the stopped stream is no example
    lab_page.save()
    outputs = jupyter.read_outputs("endpoint.ipynb")
    for cell in (1, 2):
        data = outputs[cell][0]["data"]
        assert set(data) == {"text/html", "text/plain"}
        assert "Endpoint" in data["text/html"]
        assert "conduit-form" not in data["text/html"]
