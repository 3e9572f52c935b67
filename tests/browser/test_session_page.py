"""A session's view: its script with hand-written messages, and a lab in a real JupyterLab."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from conduit_lab.notebook.hub import joined_script, joined_style
from tests.browser.lab import PAGE_TIMEOUT, JupyterServer, LabPage

pytestmark = pytest.mark.browser

SOURCE = f"{joined_script(default=False)}\nexport default VIEWS.session;"
MOUNT = """async (source) => {
    const blob = new Blob([source], { type: "text/javascript" });
    const { default: View } = await import(URL.createObjectURL(blob));
    window.sent = [];
    window.view = new View({ send: (content) => window.sent.push(content) });
    document.body.append(window.view.root);
}"""
HOSTILE = "<img src=x onerror=alert(1)>"


def message(**changed: Any) -> dict[str, Any]:
    table = {
        "columns": ["endpoint", "calls"],
        "numeric": [False, True],
        "rows": [[{"text": HOSTILE}, {"text": "2", "suffix": " runs", "share": 0.5}]],
        "more": "3 more rows",
    }
    streams = [{"key": 7, "cells": [HOSTILE, "● running", "3", "1.00 s", ""]}]
    return {
        "kind": "Lab",
        "name": HOSTILE,
        "facts": ["1 endpoint", "1 running stream"],
        "urls": ["http://127.0.0.1:8000", "javascript:alert(1)"],
        "headline": "0 of 1 endpoint ready for an export",
        "groups": [[table], []],
        "note": "call once, to export:",
        "missing": ["ask(…)"],
        "streams": streams,
        "stream_columns": ["stream", "state", "chunks", "time", "rate"],
        "more_streams": "",
        "html": "<div>static</div>",
    } | changed


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.set_content(f"<style>{joined_style()}</style>")
    page.evaluate(MOUNT, SOURCE)
    page.evaluate("(message) => view.receive(message)", message())
    yield page
    context.close()


def test_every_text_stays_text(page: Page) -> None:
    assert page.locator("img").count() == 0
    assert page.locator(".conduit-title b").text_content() == HOSTILE
    links = page.locator("a").evaluate_all("(links) => links.map((link) => link.href)")
    assert links == ["http://127.0.0.1:8000/"]
    assert page.locator("td", has_text="2 runs").count() == 1
    assert page.locator("pre").text_content() == "ask(…)"
    assert page.get_by_text("3 more rows").count() == 1


def test_the_button_of_a_stream_stays_the_same_and_sends_its_key(page: Page) -> None:
    stop = page.get_by_role("button", name="Stop")
    stop.focus()
    other = message(facts=["2 models"], headline="")
    other["streams"][0]["cells"][2] = "9"
    page.evaluate("(message) => view.receive(message)", other)
    assert page.locator("td", has_text="9").count() == 1
    assert page.evaluate("document.activeElement.textContent") == "Stop"
    page.keyboard.press("Enter")
    assert page.evaluate("window.sent") == [{"stop": 7}]
    assert page.get_by_role("button").text_content() == "Stopping"
    page.evaluate("(message) => view.receive(message)", message(streams=[]))
    assert page.get_by_role("button").count() == 0


def test_a_snapshot_has_neither_streams_nor_servers(page: Page) -> None:
    shown = page.evaluate("view.snapshot('■ the kernel is gone')")
    assert "■ the kernel is gone" in shown
    assert "<div>static</div>" in shown
    assert "127.0.0.1" not in shown
    assert "running stream" not in shown
    assert HOSTILE not in shown
    page.evaluate("(message) => view.receive(message)", message(streams=[], urls=[]))
    assert "saved" not in page.evaluate("view.snapshot('● running when this was saved')")


CELLS = [
    "import threading\nfrom conduit_lab import Lab\nlab = Lab('demo')\ngo_on = threading.Event()\n"
    "@lab.ml_stream('/wait')\ndef wait(n: int):\n    yield n\n    go_on.wait(60)",
    "lab",
    "stream = wait(1)",
    "lab = Lab('demo')\nlab.endpoints",
]


def test_a_lab_follows_its_session_stops_its_streams_and_stays(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    expect.set_options(timeout=PAGE_TIMEOUT)
    jupyter.write_notebook("session.ipynb", CELLS)
    lab_page.open("session.ipynb")
    for cell in range(3):
        lab_page.run_to_end(cell)
    shown = lab_page.output(1)
    expect(shown).to_contain_text("1 running stream")
    shown.get_by_role("button", name="Stop").click()
    expect(shown.get_by_role("button")).to_have_count(0)
    expect(shown).to_contain_text("wait(1)")  # a stream that was stopped is no proof
    lab_page.run_to_end(3)
    expect(lab_page.output(3).first).to_contain_text("still has 1 endpoint")
    lab_page.wait_for("panel.sessionContext.session.kernel.restart()")
    expect(shown).to_contain_text("■ the kernel was restarted")
    expect(shown).to_contain_text("POST /wait")
    lab_page.save()
    outputs = jupyter.read_outputs("session.ipynb")
    assert set(outputs[1][0]["data"]) == {"text/html", "text/plain"}
