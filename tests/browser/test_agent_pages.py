"""The pages of MCP Apps in a real browser, below a host that speaks their protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Frame, Page, expect

from conduit_lab.serving.faces.mcp_apps import EXPLORER_PAGE, STREAM_PAGE, page_html

pytestmark = pytest.mark.browser

# A host of the revision 2026-01-26, without a sandbox proxy: it answers the handshake, sends the
# tool's input and result, and answers calls of tools with `calls`.
HOST = """
<!doctype html><body><iframe sandbox="allow-scripts" width="700" height="500"></iframe><script>
window.seen = [];
window.addEventListener("message", (event) => {
  const { id, method, params } = event.data;
  window.seen.push({ method, params });
  const post = (message) => event.source.postMessage({ jsonrpc: "2.0", ...message }, "*");
  if (method === "ui/initialize") {
    const hostContext = { theme: "dark", styles: { variables: { "--color-text-primary": "red" } } };
    post({ id, result: { protocolVersion: "2026-01-26", hostInfo: {}, hostCapabilities: {},
      hostContext } });
  } else if (method === "ui/notifications/initialized") {
    post({ method: "ui/notifications/tool-input", params: { arguments: window.given } });
    post({ method: "ui/notifications/tool-result", params: window.result });
    post({ id: 900, method: "ui/resource-teardown", params: {} });
  } else if (method === "tools/call") {
    post(window.failing ? { id, error: { code: -1, message: "the host refused" } }
      : { id, result: window.next });
  }
});
</script></body>
"""

POINTS = [[0.2, 0.3, 0], [0.7, 0.6, 1], [0.8, 0.5, 255]]
CLUSTERS = [
    {"label": "kettles", "color": "#0072b2", "entries": 1, "at": [0.2, 0.3]},
    {"label": "<b>returns</b>", "color": "#d55e00", "entries": 1, "at": [0.7, 0.6]},
]
HIT = {"id": "k", "score": 0.5, "content": "<img src=x onerror=parent.hacked=1>", "at": [0.2, 0.3]}


def map_data(hits: list[dict[str, Any]]) -> dict[str, Any]:
    facts = {"tool": "explore_notes", "name": "notes", "facts": ["3 entries"], "ratio": 2.0}
    return {**facts, "clusters": CLUSTERS, "points": POINTS, "hits": hits}


@pytest.fixture
def host(browser: Browser) -> Iterator[Page]:
    """A page of the host; fails the test where it asked for anything outside."""
    opened = browser.new_page()
    asked: list[str] = []
    problems: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    opened.close()
    assert [url for url in asked if not url.startswith(("about:", "data:"))] == []
    assert problems == []


def show(host: Page, uri: str, given: dict[str, Any], result: dict[str, Any]) -> Frame:
    host.set_content(HOST)
    host.evaluate(
        "([html, given, result]) => { Object.assign(window, { given, result });"
        " document.querySelector('iframe').srcdoc = html; }",
        [page_html(uri), given, result],
    )
    host.wait_for_function("window.seen.some(({ method }) => method?.endsWith('size-changed'))")
    return host.frames[1]


def test_the_explorer_shows_the_map_and_searches_again(host: Page) -> None:
    frame = show(host, EXPLORER_PAGE, {"query": "kettle"}, {"structuredContent": map_data([HIT])})
    expect(frame.locator("#facts")).to_have_text("3 entries")
    expect(frame.locator("#map circle")).to_have_count(4)  # three points and a ring
    expect(frame.locator("#map text").nth(1)).to_have_text("<b>returns</b>")
    expect(frame.locator("#hits li")).to_contain_text("<img src=x")
    assert host.evaluate("window.hacked") is None
    expect(frame.locator("#query")).to_have_value("kettle")

    host.evaluate("(next) => { window.next = next; }", {"structuredContent": map_data([HIT, HIT])})
    frame.fill("#query", "return")
    frame.press("#query", "Enter")
    expect(frame.locator("#hits li")).to_have_count(2)
    (call,) = host.evaluate("window.seen.filter(({ method }) => method === 'tools/call')")
    assert call["params"] == {"name": "explore_notes", "arguments": {"query": "return"}}


def test_a_search_that_fails_says_so_and_keeps_the_map(host: Page) -> None:
    frame = show(host, EXPLORER_PAGE, {}, {"structuredContent": map_data([])})
    host.evaluate("() => { window.failing = true; }")
    frame.fill("#query", "return")
    frame.press("#query", "Enter")
    expect(frame.locator("#facts")).to_have_text("the host refused")
    expect(frame.locator("#map circle")).to_have_count(3)


def test_the_stream_shows_its_text_and_tints_unlikely_tokens(host: Page) -> None:
    chunks = [{"text": "A ", "probability": 1.0}, {"text": "<i>kettle", "probability": 0.25}, "!"]
    result = {"structuredContent": {"chunks": chunks, "cut": True}}
    frame = show(host, STREAM_PAGE, {"prompt": "About kettles", "count": 3}, result)
    expect(frame.locator("#name")).to_have_text("About kettles")
    expect(frame.locator("#facts")).to_have_text("3 chunks, cut")
    expect(frame.locator("#text")).to_have_text("A <i>kettle!")
    tints = frame.locator("#text span").evaluate_all("all => all.map((e) => e.style.background)")
    assert tints[0] != tints[1] != tints[2] == ""
    expect(frame.locator("#text span").nth(1)).to_have_attribute("title", "25.0 %")


def test_a_failed_stream_says_why(host: Page) -> None:
    result = {"isError": True, "content": [{"type": "text", "text": "the tool failed"}]}
    frame = show(host, STREAM_PAGE, {}, result)
    expect(frame.locator("#facts")).to_have_text("failed")
    expect(frame.locator("#text")).to_have_text("the tool failed")


def test_the_page_follows_the_host_and_answers_it(host: Page) -> None:
    frame = show(host, STREAM_PAGE, {}, {"structuredContent": {"chunks": ["a"]}})
    root = frame.locator("html")
    assert root.evaluate("(e) => e.style.colorScheme") == "dark"
    assert frame.locator("body").evaluate("(e) => getComputedStyle(e).color") == "rgb(255, 0, 0)"
    host.wait_for_function("window.seen.some(({ method }) => method === undefined)")  # teardown
    (first, *_) = host.evaluate("window.seen")
    assert first["method"] == "ui/initialize"
    assert first["params"]["protocolVersion"] == "2026-01-26"
