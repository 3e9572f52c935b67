"""A stream in a real JupyterLab: live while it runs, stopped on request, static afterwards."""

from __future__ import annotations

import pytest

from tests.browser.lab import JupyterServer, LabPage

pytestmark = pytest.mark.browser

SETUP = """
from time import sleep
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.views import register
register()

def story(chunks):
    for number in range(chunks):
        yield f"<b>chunk {number}</b> "
        sleep(0.05)
"""
WHOLE = "".join(f"<b>chunk {number}</b> " for number in range(60))
WATCH = """() => {
    window.texts = [];
    new MutationObserver(() => {
        const text = document.querySelector(".conduit-stream-text")?.textContent;
        if (text && text !== window.texts.at(-1)) window.texts.push(text);
    }).observe(document, { childList: true, subtree: true, characterData: true });
}"""
PRESS = """() => new Promise((resolve) => {
    const pressed = performance.now();
    new MutationObserver((_, observer) => {
        if (document.querySelector(".conduit-stream")) return;
        observer.disconnect();
        resolve(performance.now() - pressed);
    }).observe(document, { childList: true, subtree: true });
    document.querySelector(".conduit-stop").click();
})"""
STOP_LIMIT = 1_000  # milliseconds; about 70 on an idle machine


def test_a_stream_grows_live_and_stays_in_the_saved_notebook(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    jupyter.write_notebook("story.ipynb", [SETUP, "Stream(story(60), name='story')"])
    lab_page.open("story.ipynb")
    lab_page.run_to_end(0)
    lab_page.page.evaluate(WATCH)
    lab_page.run(1)
    live, output = lab_page.page.locator(".conduit-stream"), lab_page.output(1)
    live.wait_for()
    live.wait_for(state="detached")

    texts: list[str] = lab_page.page.evaluate("window.texts")
    assert len({len(text) for text in texts}) >= 3
    assert texts == sorted(texts, key=len)
    assert all(WHOLE.startswith(text) for text in texts)
    assert len(texts[-1]) > len(WHOLE) // 2  # the static output may replace the last live texts
    assert WHOLE.strip() in output.inner_text()
    assert "✓ done · 60 chunks" in output.inner_text()
    assert output.locator("b").all_inner_texts() == [
        "story"
    ]  # the name in the header; the chunks are no markup

    lab_page.save()
    ((saved,),) = jupyter.read_outputs("story.ipynb")[1:]
    assert set(saved["data"]) == {"text/html", "text/plain"}
    lab_page.shut_kernel_down()
    lab_page.open_without_kernel("story.ipynb")
    output.wait_for()
    assert WHOLE.strip() in output.inner_text()


@pytest.mark.parametrize("rest_of_cell", ["", "\nsleep(20)"], ids=["idle", "while a cell blocks"])
def test_stop_ends_the_stream_quickly(
    lab_page: LabPage, jupyter: JupyterServer, rest_of_cell: str
) -> None:
    jupyter.write_notebook(
        "stop.ipynb", [SETUP, f"display(Stream(story(10_000), name='endless')){rest_of_cell}"]
    )
    lab_page.open("stop.ipynb")
    lab_page.run_to_end(0)
    lab_page.run(1)
    lab_page.page.locator(".conduit-stream-text").get_by_text("chunk 9</b>").wait_for()
    assert lab_page.page.evaluate(PRESS) < STOP_LIMIT
    assert "■ cancelled" in lab_page.output(1).inner_text()
    lab_page.shut_kernel_down()


IMAGES = """
import numpy as np

def drawing(steps):
    for step in range(steps):
        picture = np.zeros((120, 200, 3), np.uint8)
        picture[:, : 200 * (step + 1) // steps] = (40, 120, 200)
        yield {"step": step, "image": picture}
        sleep(0.05)
"""
SEEN = """() => {
    window.images = new Set();
    new MutationObserver(() => {
        const image = document.querySelector(".conduit-stream-picture");
        if (image?.src) window.images.add(image.src);
    }).observe(document, { childList: true, subtree: true, attributes: true });
}"""


def test_a_stream_of_images_shows_the_newest_live_and_keeps_the_last(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    jupyter.write_notebook("drawing.ipynb", [SETUP + IMAGES, "Stream(drawing(40), name='drawing')"])
    lab_page.open("drawing.ipynb")
    lab_page.run_to_end(0)
    lab_page.page.evaluate(SEEN)
    lab_page.run(1)
    live = lab_page.page.locator(".conduit-stream")
    lab_page.page.locator(".conduit-stream-picture").wait_for()
    assert "200 × 120 · PNG" in live.locator("summary").inner_text()
    live.wait_for(state="detached")

    seen: list[str] = lab_page.page.evaluate("[...window.images]")
    assert len(seen) >= 2
    assert all(url.startswith("data:image/png;base64,") for url in seen)
    image = lab_page.output(1).locator("img").first  # then the strip
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [200, 120]
