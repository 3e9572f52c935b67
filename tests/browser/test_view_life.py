"""A live view in a real JupyterLab never dies: its text stays, with any page and any kernel."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.lab import PAGE_TIMEOUT, JupyterServer, LabPage

pytestmark = pytest.mark.browser

SETUP = """
import threading
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.views import register
register()
go_on = threading.Event()

def story():
    for number in range(20):
        yield f"chunk {number}. "
    go_on.wait(60)
    yield "The end."
"""
expect.set_options(timeout=PAGE_TIMEOUT)
SHOW = "stream = Stream(story(), name='story')\nstream"


def begin(page: LabPage, jupyter: JupyterServer, name: str) -> None:
    """Run a stream until its twenty chunks are in the page, before its end."""
    jupyter.write_notebook(name, [SETUP, SHOW, "go_on.set(); stream.result()[-8:]"])
    page.open(name)
    page.run_to_end(0)
    page.run(1)
    expect(page.page.locator(".conduit-stream-text")).to_contain_text("chunk 19.")


def test_a_reload_and_a_second_tab_go_on_and_both_become_static(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    begin(lab_page, jupyter, "tabs.ipynb")
    lab_page.save()
    ((saved,),) = jupyter.read_outputs("tabs.ipynb")[1:2]
    assert set(saved["data"]) == {"text/html", "text/plain"}
    assert "running when this was saved" in saved["data"]["text/html"]
    assert "chunk 19." in saved["data"]["text/html"]
    expect(lab_page.page.locator(".conduit-stream-text")).to_contain_text("chunk 19.")

    lab_page.page.reload()
    live = lab_page.page.locator(".conduit-stream-text")
    expect(live).to_contain_text("chunk 19.")
    second = LabPage(jupyter, lab_page.page.context)
    second.open("tabs.ipynb")
    expect(second.page.locator(".conduit-stream-text")).to_contain_text("chunk 19.")

    lab_page.run_to_end(2)
    for page in (lab_page, second):
        expect(page.output(1)).to_contain_text("✓ done")
        expect(page.output(1)).to_contain_text("The end.")
        expect(page.page.locator(".conduit-view")).to_have_count(0)
    lab_page.save()
    assert "The end." in jupyter.read_outputs("tabs.ipynb")[1][0]["data"]["text/html"]
    lab_page.shut_kernel_down()


def test_a_notebook_closed_in_mid_stream_is_final_when_it_is_opened_after_the_end(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    begin(lab_page, jupyter, "closed.ipynb")
    lab_page.save()
    lab_page.page.evaluate("window.jupyterapp.shell.currentWidget.close()")
    reader = LabPage(jupyter, lab_page.page.context)
    reader.open_without_kernel("closed.ipynb")
    expect(reader.output(1)).to_contain_text("running when this was saved")
    expect(reader.output(1)).to_contain_text("chunk 19.")
    reader.page.close()
    lab_page.open("closed.ipynb")
    lab_page.run_to_end(2)
    expect(lab_page.output(1)).to_contain_text("The end.")
    lab_page.shut_kernel_down()


@pytest.mark.parametrize(
    ("end", "word"),
    [
        ("panel.sessionContext.session.kernel.restart()", "■ the kernel was restarted"),
        ("panel.sessionContext.shutdown()", "■ the kernel is gone"),
    ],
    ids=["restarted", "shut down"],
)
def test_a_kernel_that_ends_leaves_the_text_and_says_so(
    lab_page: LabPage, jupyter: JupyterServer, end: str, word: str
) -> None:
    begin(lab_page, jupyter, "ended.ipynb")
    lab_page.page.evaluate(f"() => {{ const panel = jupyterapp.shell.currentWidget; void {end}; }}")
    expect(lab_page.output(1)).to_contain_text(f"{word} · 20 chunks")
    expect(lab_page.output(1)).to_contain_text("chunk 19.")
    expect(lab_page.page.locator(".conduit-view")).to_have_count(0)
    lab_page.save()
    html = jupyter.read_outputs("ended.ipynb")[1][0]["data"]["text/html"]
    assert "data-conduit-view" not in html
    lab_page.wait_for("(panel.sessionContext.session?.kernel?.status ?? 'idle') === 'idle'")
    lab_page.shut_kernel_down()
