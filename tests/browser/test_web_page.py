"""The static page of an exported app in Chromium: its forms are answered without a server."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from conduit_lab import Lab
from conduit_lab.export.web.web_writer import export_web
from tests.export.conftest import weights
from tests.serving.clients.node import PACKAGES, require

pytestmark = pytest.mark.browser

HOSTILE = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page with a hostile name, a hostile label and two endpoints."""
    require("onnxruntime-web")
    root = tmp_path_factory.mktemp("page")
    weights(root / "sign.npz", ["up", HOSTILE])
    lab = Lab(HOSTILE, root=root)
    sign = lab.load_model("sign.npz")

    @lab.post("/sign")
    def name(left: float, right: float = 0.5) -> Any:
        """Say the sign of a sum."""
        return sign.predict([left, right])

    @lab.ml_pipeline("/echo")
    def echo(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return {HOSTILE: data["x"]}

    name(1.0, 2.0)
    echo({"x": HOSTILE})
    runtime = PACKAGES / "node_modules" / "onnxruntime-web"
    made = export_web(lab, "site", examples=lab.examples, proof=None, runtime=runtime)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(made.folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test where it logs an error."""
    context = browser.new_context(viewport={"width": 400, "height": 800})
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda each: problems.append(each.text) if each.type == "error" else None)
    yield page
    context.close()
    assert problems == []


def run(page: Page, state: str) -> str:
    page.locator(".conduit-form-run").click()
    expect(page.locator(".conduit-form-status")).to_contain_text(re.compile(state))
    return page.locator(".conduit-form-answer").inner_text()


def source_of(page: Page) -> str:
    return page.locator(".conduit-form-source").inner_text()


def test_a_reader_runs_the_models_without_a_server(page: Page, url: str) -> None:
    page.goto(url)
    page.locator(".conduit-form-chip").click()
    asked: list[str] = []
    assert "0.998" in run(page, "✓ done")
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("left", exact=True).fill("-3")
    assert HOSTILE in run(page, "✓ done").split("\n")[0]
    assert page.locator(".conduit-form-bars th").first.inner_text() == HOSTILE
    assert 'await answer("/sign", { "left": -3, "right": 2 })' in source_of(page)
    assert page.evaluate("conduit.answer('/sign', { left: 1 }).then(({ label }) => label)") == "up"
    page.goto(f"{url}#echo")
    page.locator(".conduit-form-chip").click()
    assert HOSTILE in run(page, "✓ done")
    page.locator("textarea").fill('{"y": 1}')
    assert "the body has no 'x'; it has 'y'" in run(page, "✕ failed")
    page.locator("textarea").fill('{"x": ["[ a ]", {"b": []}]}')
    assert '{ "x": ["[ a ]", { "b": [] }] }' in source_of(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("window.hit") is None
    assert page.locator("#page img, #page script").count() == 0
    assert asked == []


def test_a_file_without_a_server_says_how_to_open_it(browser: Browser, tmp_path: Path) -> None:
    from conduit_lab.export.web import site

    (tmp_path / "index.html").write_text(
        (Path(site.__file__).parent / "page" / "index.html").read_text("utf-8")
    )
    context = browser.new_context()
    page = context.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    expect(page.locator("#page")).to_contain_text("python -m http.server")
    context.close()
