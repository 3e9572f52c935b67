"""A server's dashboard: its script with hand-written messages, and a real JupyterLab."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from conduit_lab.notebook.hub import joined_script, joined_style
from tests.browser.lab import PAGE_TIMEOUT, JupyterServer, LabPage
from tests.browser.test_session_page import HOSTILE, MOUNT

pytestmark = pytest.mark.browser

SOURCE = f"{joined_script(default=False)}\nexport default VIEWS.server;"


def message(**changed: Any) -> dict[str, Any]:
    table = {
        "columns": ["endpoint", "requests"],
        "numeric": [False, True],
        "rows": [[{"text": HOSTILE}, {"text": "2", "share": 0.5}]],
        "more": "",
    }
    return {
        "url": "http://127.0.0.1:8000",
        "facts": ["● running", HOSTILE, "1 endpoint"],
        "headline": "12.4 requests/s · p50 3.20 ms · p99 14.1 ms",
        "load": "2 in flight",
        "per_second": [0, 1, 4],
        "caption": "requests per second in the last minute, at most 4",
        "groups": [[table], []],
        "html": "<div>static</div>",
    } | changed


def test_figures_bars_and_tables_and_no_html(browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_content(f"<style>{joined_style()}</style>")
    page.evaluate(MOUNT, SOURCE)
    page.evaluate("(message) => view.receive(message)", message())
    assert page.locator("img").count() == 0
    assert HOSTILE in (page.locator(".conduit-title").text_content() or "")
    assert page.locator("a").get_attribute("href") == "http://127.0.0.1:8000"
    heights = "(bars) => bars.map((bar) => bar.style.height)"
    bars = page.locator(".conduit-server-strip > div")
    assert bars.evaluate_all(heights) == ["0%", "25%", "100%"]
    page.evaluate("window.kept = document.querySelector('table')")
    page.evaluate("(message) => view.receive(message)", message(per_second=[1, 4, 2]))
    assert bars.evaluate_all(heights) == ["25%", "100%", "50%"]
    assert page.evaluate("kept === document.querySelector('table')")  # it did not change
    static = page.evaluate("view.snapshot('■ no kernel')")
    assert static.endswith("<div>static</div>")
    assert "■ no kernel" in static
    assert HOSTILE not in static
    context.close()


CELLS = [
    "from urllib.request import urlopen\nfrom conduit_lab import Lab\nlab = Lab('desk')\n"
    "lab.get('/one')(lambda: 1)\nserver = lab.serve(port=0)\nserver",
    "for _ in range(3):\n    _ = urlopen(f'{server.url}/one').read()",
    "server.stop()",
]


def test_a_server_is_live_in_a_cell_until_it_stops(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    expect.set_options(timeout=PAGE_TIMEOUT)
    jupyter.write_notebook("server.ipynb", CELLS)
    lab_page.open("server.ipynb")
    lab_page.run_to_end(0)
    shown = lab_page.output(0).last
    expect(shown).to_contain_text("● running")
    lab_page.run_to_end(1)
    expect(shown).to_contain_text("3 requests since the start")
    lab_page.run_to_end(2)
    expect(shown).to_contain_text("■ stopped")
    lab_page.save()
    outputs = jupyter.read_outputs("server.ipynb")
    assert "3 requests since the start" in outputs[0][-1]["data"]["text/html"]
