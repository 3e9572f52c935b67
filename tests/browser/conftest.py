"""One JupyterLab server for the whole folder, one Chromium per module, one page per test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.lab import JupyterServer, LabPage, serve_jupyter

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is."""
    executable = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if executable is None:
        reason = "no Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return executable


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium with a new profile; Playwright removes the profile afterwards.

    For one module at a time: while it is there, Playwright's event loop counts as running on this
    thread, and the tests of other rooms could run none of their own."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def jupyter(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """A JupyterLab server for an empty folder, into whose `root` a test puts its notebook."""
    home: Path = tmp_path_factory.mktemp("jupyter")
    root = home / "notebooks"
    root.mkdir()
    with serve_jupyter(home, root) as server:
        yield server


@pytest.fixture
def lab_page(browser: Browser, jupyter: JupyterServer) -> Iterator[LabPage]:
    """A new JupyterLab page; fails the test if the page asked any host but this one."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    page = LabPage(jupyter, context)
    yield page
    context.close()
    assert page.hosts <= {"127.0.0.1"}
