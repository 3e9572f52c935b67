"""From chunk to page: the latency and messages of live views in a real JupyterLab.

    python benchmarks/views.py [seconds]

Each chunk contains its creation time; an observer in the page compares it with the time at which
its text node was added. Everything runs on one machine, so the clocks agree. The script also counts
the frames and bytes received by the page. The hub is already open: the first view of a session
waits for it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import WebSocket, sync_playwright

from tests.browser.conftest import CHROMIUM_FLAGS
from tests.browser.lab import JupyterServer, LabPage, serve_jupyter

SETUP = """
from time import monotonic, sleep, time
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.views import register
register()

def paced(rate, seconds):
    begin = monotonic()
    for number in range(int(rate * seconds)):
        yield f"{time() * 1000:.1f} "
        if (ahead := begin + (number + 1) / rate - monotonic()) > 0.001:
            sleep(ahead)

display(Stream(paced(50, 1)))  # the first view of a session opens the hub
sleep(1.5)
"""
WATCH = """() => {
    window.delays = [];
    new MutationObserver((records) => {
        const now = Date.now();
        for (const { addedNodes } of records) for (const node of addedNodes) {
            if (node.nodeType !== Node.TEXT_NODE || !node.parentElement?.closest(".conduit-view")) continue;
            for (const [made] of node.data.matchAll(/\\d{13}\\.\\d/g)) window.delays.push(now - Number(made));
        }
    }).observe(document, { childList: true, subtree: true });
}"""  # noqa: E501
RUNS = ((1, 50), (1, 1_000), (1, 20_000), (8, 1_000))


def main(seconds: float) -> None:
    """Print a line per number of views and chunks per second."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder) / "root"
        root.mkdir()
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        with serve_jupyter(Path(folder), root) as server:
            print("views  chunks/s each  chunks seen   p50 ms   p95 ms  frames      KB")
            for views, rate in RUNS:
                _measure(browser, server, views, rate, seconds)
        browser.close()


def _measure(browser: Any, server: JupyterServer, views: int, rate: int, seconds: float) -> None:
    page = LabPage(server, browser.new_context(viewport={"width": 1400, "height": 2400}))
    frames: list[int] = []

    def count(socket: WebSocket) -> None:
        socket.on("framereceived", lambda data: frames.append(len(data)))

    page.page.on("websocket", count)
    show = f"for n in range({views}): display(Stream(paced({rate}, {seconds}), name=f's{{n}}'))"
    server.write_notebook("views.ipynb", [SETUP, show])
    page.open("views.ipynb")
    page.run_to_end(0)
    page.page.evaluate(WATCH)
    frames.clear()
    page.run_to_end(1)
    page.page.wait_for_function(
        f"() => document.querySelectorAll('.conduit-view').length === {views}"
    )
    page.page.wait_for_function(
        "() => document.querySelectorAll('.conduit-view').length === 0", timeout=120_000
    )
    delays = sorted(page.page.evaluate("window.delays"))
    middle, high = (delays[int(part * (len(delays) - 1))] for part in (0.5, 0.95))
    seen = f"{len(delays)} of {int(views * rate * seconds)}"
    print(
        f"{views:5}  {rate:13}  {seen:>17}  {middle:7.0f}  {high:7.0f}  {len(frames):6}  "
        f"{sum(frames) / 1024:6.0f}"
    )
    page.shut_kernel_down()
    page.page.context.close()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
