"""A generation in a real JupyterLab: tinted, branched, reloaded, and read without a kernel."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import PAGE_TIMEOUT, REPOSITORY, JupyterServer, LabPage

pytestmark = pytest.mark.browser

SETUP = f"""
from conduit_lab import load_model
from conduit_lab.notebook.views import register
register()
writer = load_model({str(REPOSITORY / "data/models/writer")!r})
"""
SHOW = "stream = writer.stream('Our return policy', max_tokens=24, seed=1)\nstream"
CHECK = """
(branch,) = stream.branches
branch.result()
[stream.text[:40], branch.text[:40], branch.position, branch.tokens[3].text]
"""
expect.set_options(timeout=PAGE_TIMEOUT)


def column(page: LabPage, number: int) -> Locator:
    """Return the tokens of one column."""
    columns = page.page.locator(".conduit-generation-column")
    return columns.nth(number).locator(".conduit-token")


def test_a_branch_from_a_click_is_there_after_a_reload_and_in_the_saved_notebook(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    page = lab_page.page
    jupyter.write_notebook("generation.ipynb", [SETUP, SHOW, CHECK])
    lab_page.open("generation.ipynb")
    lab_page.run_to_end(0)
    lab_page.run(1)
    output, live = lab_page.output(1), page.locator(".conduit-generation")
    expect(live).to_contain_text("✓ done")
    text = "".join(column(lab_page, 0).all_text_contents())
    assert len(text) > 20

    page.locator(".conduit-token").nth(3).click()
    page.keyboard.press("p")
    expect(page.locator(".conduit-generation-tinted")).to_have_count(1)
    page.locator(".conduit-generation-row:enabled").first.click()
    expect(page.locator(".conduit-generation-column")).to_have_count(2)
    expect(page.locator(".conduit-generation-head").nth(1)).to_contain_text("✓")
    lab_page.run_to_end(2)
    branch = "".join(column(lab_page, 1).all_text_contents())
    taken = column(lab_page, 1).nth(3).text_content() or ""
    begin = "".join(column(lab_page, 0).all_text_contents()[:3])
    assert branch.startswith(begin + taken) and not text.startswith(begin + taken)
    expect(lab_page.output(2)).to_contain_text(f"{[text[:40], branch[:40], 3, taken]!r}")

    lab_page.save()
    ((saved,),) = jupyter.read_outputs("generation.ipynb")[1:2]
    assert set(saved["data"]) == {"text/html", "text/plain"}
    assert saved["data"]["text/html"].startswith('<div data-conduit-view="generation-')
    page.reload()
    expect(page.locator(".conduit-generation-column")).to_have_count(2)
    expect(page.locator(".conduit-generation-tinted")).to_have_count(1)
    expect(page.locator(".conduit-generation-row").first).to_be_visible()  # the open panel
    assert "".join(column(lab_page, 1).all_text_contents()) == branch

    lab_page.wait_for("panel?.sessionContext.session?.kernel?.status === 'idle'")
    lab_page.shut_kernel_down()
    expect(live).to_have_count(0)
    expect(output).to_contain_text(text.strip())
    lab_page.save()
    ((saved,),) = jupyter.read_outputs("generation.ipynb")[1:2]
    assert "data-conduit-view" not in saved["data"]["text/html"]
    lab_page.open_without_kernel("generation.ipynb")
    expect(output).to_contain_text(text.strip())
    output.locator("summary", has_text="branch at 3").click()
    expect(output).to_contain_text(branch.strip())
