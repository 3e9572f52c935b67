"""make pictures: every view in a real JupyterLab, as PNG files.

`docs/images` gets the pictures that the pages show; `build/pictures` gets each view in light and
dark, at 480 and 1,400 pixels, untrusted, without a kernel, and from nbconvert, for review.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.browser.conftest import CHROMIUM_FLAGS
from tests.browser.lab import REPOSITORY, JupyterServer, LabPage, serve_jupyter

ALL = REPOSITORY / "build/pictures"
SHOWN = REPOSITORY / "docs/images"
WIDTHS = (1400, 480)
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
NOTEBOOK = "pictures.ipynb"


@dataclass(frozen=True)
class Picture:
    """One view: the code of its cell, what a person does in it, and its places in `docs/images`.

    `shown` are the themes whose wide picture a page shows; `output` is the cell's output to take.
    """

    name: str
    code: str
    act: Callable[[Page, Locator], None] | None = None
    shown: tuple[str, ...] = ()
    output: int = -1


def take(pictures: list[Picture], setup: str) -> None:
    """Run all cells and write every picture."""
    shutil.rmtree(ALL, ignore_errors=True)
    ALL.mkdir(parents=True)
    SHOWN.mkdir(parents=True, exist_ok=True)
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder)
        root = home / "root"
        root.mkdir()
        (root / "data").symlink_to(REPOSITORY / "data")
        (root / "pyproject.toml").touch()  # relative paths start here
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        with serve_jupyter(home, root) as server:
            for theme in THEMES:
                _take_live(browser, server, pictures, setup, theme)
            _take_saved(browser, server, pictures)
        _take_converted(browser, root, pictures)
        browser.close()


def _take_live(
    browser: Browser, server: JupyterServer, pictures: list[Picture], setup: str, theme: str
) -> None:
    page = _page(browser, server)
    server.write_notebook(NOTEBOOK, [setup, *(picture.code for picture in pictures)])
    page.open(NOTEBOOK)
    _prepare(page, theme)
    page.run_to_end(0)
    for number, picture in enumerate(pictures, 1):
        page.run_to_end(number)
        output = page.output(number).nth(picture.output)
        output.wait_for()
        output.scroll_into_view_if_needed()
        if picture.act is not None:
            picture.act(page.page, output)
        for width in WIDTHS:
            page.page.set_viewport_size({"width": width, "height": 1000})
            page.page.wait_for_timeout(300)  # charts and maps follow the new width
            _shoot(output, f"{picture.name}-{theme}-{width}")
        page.page.set_viewport_size({"width": WIDTHS[0], "height": 1000})
        if theme in picture.shown:
            shutil.copy(ALL / f"{picture.name}-{theme}-{WIDTHS[0]}.png", _target(picture, theme))
    page.save()
    page.page.reload()
    page.wait_for("panel?.sessionContext.session?.kernel?.status === 'idle'")
    for number, picture in enumerate(pictures, 1):
        output = page.output(number).nth(picture.output)
        output.scroll_into_view_if_needed()
        _shoot(output, f"{picture.name}-{theme}-reloaded")
    page.shut_kernel_down()
    page.page.context.close()


def _take_saved(browser: Browser, server: JupyterServer, pictures: list[Picture]) -> None:
    """Open the saved notebook without a kernel, and a changed copy, which is not trusted."""
    copy = nbformat.read(server.root / NOTEBOOK, as_version=4)
    copy.cells.append(nbformat.v4.new_markdown_cell("A copy."))
    nbformat.write(copy, server.root / "untrusted.ipynb")
    for notebook, kind in ((NOTEBOOK, "saved"), ("untrusted.ipynb", "untrusted")):
        for theme in THEMES:
            page = _page(browser, server)
            page.open_without_kernel(notebook)
            _prepare(page, theme)
            for number, picture in enumerate(pictures, 1):
                output = page.output(number).nth(picture.output)
                output.scroll_into_view_if_needed()
                _shoot(output, f"{picture.name}-{theme}-{kind}")
            page.page.context.close()


def _take_converted(browser: Browser, root: Path, pictures: list[Picture]) -> None:
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(root / NOTEBOOK)]
    subprocess.run(command, check=True, capture_output=True)
    page = browser.new_page(viewport={"width": 1000, "height": 1000})
    page.goto((root / NOTEBOOK).with_suffix(".html").as_uri())
    cells = page.locator(".jp-CodeCell")
    for number, picture in enumerate(pictures, 1):
        outputs = cells.nth(number).locator(".jp-OutputArea-output")
        _shoot(outputs.nth(picture.output), f"{picture.name}-nbconvert")


def _page(browser: Browser, server: JupyterServer) -> LabPage:
    size = {"width": WIDTHS[0], "height": 1000}
    return LabPage(server, browser.new_context(viewport=size, reduced_motion="reduce"))  # type: ignore[arg-type]


def _prepare(page: LabPage, theme: str) -> None:
    page.wait_for("panel?.context?.isReady")
    page.page.evaluate(
        "async (theme) => { const app = window.jupyterapp; app.shell.collapseLeft();"
        "await app.commands.execute('apputils:change-theme', { theme }); }",
        THEMES[theme],
    )
    page.page.wait_for_timeout(300)


def _shoot(output: Locator, name: str) -> None:
    output.screenshot(path=ALL / f"{name}.png", animations="disabled")


def _target(picture: Picture, theme: str) -> Path:
    return SHOWN / f"{picture.name}-{theme}.png"


SETTING_UP = """
import math, random
import httpx
from time import sleep
import numpy as np
from conduit_lab import Lab, Rag, Stream, evaluate, majority_vote
lab = Lab("support-desk")
embedder = lab.load_model("data/models/minilm")
topic = lab.load_model("data/models/topic.onnx")
mood = lab.load_model("data/models/mood.npz")
chat = lab.load_model("data/models/chat")
writer = lab.load_model("data/models/writer")
handbook = lab.vector_store("handbook", embedder=embedder)
handbook.add_documents("data/handbook")
ask = lab.rag("/ask", Rag(handbook, writer, top_k=1, max_tokens=64))

@lab.ml_pipeline("/analyze")
def analyze(message):
    embedding = embedder.encode(message["text"])
    return {"topic": topic.predict(embedding), "mood": mood.predict(embedding)}

@lab.ml_stream("/count")
def count(to: int):
    for number in range(to):
        yield {"chunk": f"{number} ", "complete": False}
        sleep(0.05)

def training(steps, rate):
    for step in range(steps):
        loss = 2.3 * math.exp(-step / 40) + random.random() / 10
        yield {"step": step, "loss": round(loss, 4), "accuracy": round(1 - loss / 2.5, 4)}
        sleep(rate)

def walk(steps, rate):
    place = 0.0
    for _ in range(steps):
        place += random.gauss()
        yield place
        sleep(rate)

def waves(steps, rate):
    y, x = np.mgrid[0:180, 0:240]
    for step in range(steps):
        wave = (np.sin((x + 9 * step) / 23) + np.cos((y - 5 * step) / 31) + 2) * 63
        colours = np.stack([wave, 255 - wave, np.full_like(wave, 160)], -1)
        yield {"step": step, "image": colours.astype(np.uint8)}
        sleep(rate)

embedder.encode("ready")
writer.generate("ready", max_tokens=2)
chat.generate("ready", max_tokens=2)
"""


def _branch(page: Page, output: Locator) -> None:
    expect(output).to_contain_text("✓ done")
    page.locator(".conduit-token").nth(2).click()
    page.keyboard.press("p")
    page.locator(".conduit-generation-row:enabled").nth(1).click()
    expect(page.locator(".conduit-generation-head").nth(1)).to_contain_text("✓")
    page.locator(".conduit-generation-column").nth(1).locator(".conduit-token").nth(9).click()
    expect(page.locator(".conduit-generation-row").first).to_be_visible()


def _type_query(page: Page, output: Locator) -> None:
    page.locator(".conduit-explorer input").first.press_sequentially("my kettle is broken")
    expect(output.get_by_text("kettle").nth(1)).to_be_visible()
    page.wait_for_timeout(1_000)  # the newest answer


def _wait_for_end(page: Page, output: Locator) -> None:
    expect(output).to_contain_text("✓ done")


PICTURES = [
    Picture(
        "generation",
        "chat.stream('Once upon a time, in a kitchen full of appliances,', max_tokens=40, "
        "temperature=0.7, seed=3)",
        _branch,
        ("light", "dark"),
    ),
    Picture("explorer", "handbook.explore(color_by='section')", _type_query, ("light", "dark")),
    Picture("answer", "ask.stream('How long does a refund take?')", _wait_for_end, ("light",)),
    Picture(
        "streams",
        "[Stream(walk(400, 0.05), name='walk'), Stream(training(400, 0.05), name='training'), "
        "Stream(waves(200, 0.1), name='diffusion')]",
        lambda page, output: page.wait_for_timeout(5_000),
        ("light",),
    ),
    Picture("hits", "handbook.search('my kettle broke, who pays?', top_k=3)", None, ("light",)),
    Picture("prediction", "analyze({'text': 'The third cancelled order. I am done with you!'})"),
    Picture("trace", "analyze.trace"),
    Picture(
        "evaluation",
        "evaluate(handbook, 'data/questions.csv', modes=('dense', 'lexical', 'hybrid'))",
        None,
        ("light",),
    ),
    Picture("lab", "count(30).result(); counting = count(2_000); lab", None, ("light",)),
    Picture(
        "server",
        "server = lab.serve(port=0)\nfor word in 'kettle refund parcel'.split() * 20:\n"
        "    httpx.post(f'{server.url}/analyze', json={'text': word}, timeout=60)\nserver",
    ),
    Picture("error", "lab.load_model('data/models/topik.onnx')", output=0),
    Picture(
        "export",
        "ask('How long does a refund take?'); counting.cancel(); lab.remove('/count')\n"
        "lab.export('build/desk')",
        None,
        ("light",),
    ),
]

if __name__ == "__main__":
    expect.set_options(timeout=60_000)
    take(PICTURES, SETTING_UP)
