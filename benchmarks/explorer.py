"""The explorer with 100,000 entries: `.venv/bin/python benchmarks/explorer.py [page]`.

The entries are made from the sentences of data/handbook, embedded by data/models/minilm: each is a
pair of sentences, and its vector is the normalised sum of 0.65 and 0.35 of theirs. So the vectors
are mixed from real ones, not measured ones of 100,000 texts. The store is kept in build/explorer.

Without arguments it measures the wall-clock and CPU time of this Python process. With `page` it
drives a real JupyterLab page in Chromium and measures the time from a key press to the DOM, from
releasing the lasso to the list, and the frames of a pan and a zoom.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from conduit_lab.core.quotation import sentence_spans, without_marks
from conduit_lab.core.views.figures import seconds
from conduit_lab.models.load import load_model
from conduit_lab.vectors.explore.explorer import Explorer
from conduit_lab.vectors.store import VectorStore

ENTRIES = 100_000
LASSOED = 10_000
SHARES = (0.65, 0.35)
ROOT = Path(__file__).parents[1]
MODEL = ROOT / "data" / "models" / "minilm"
STORE = ROOT / "build" / "explorer" / "handbook.db"
QUERIES = (
    "my kettle is broken", "how do I send a toaster back", "parcel late", "loyalty points expire",
    "who pays for the return", "is limescale covered", "washing machine does not spin",
    "cancel the order", "gift voucher balance", "spare part for the coffee machine",
)  # fmt: skip
# Types a query letter by letter and records when the DOM shows the hits of each letter.
TYPE = """async (query) => {
  const box = document.querySelector(".conduit-explorer-query");
  const title = document.querySelector(".conduit-explorer-list-title");
  const times = [];
  for (let end = 4; end <= query.length; end += 1) {
    const begin = performance.now();
    const answered = new Promise((resolve) => {
      const observer = new MutationObserver(() => {
        if (!title.textContent.includes("hit")) return;
        observer.disconnect();
        resolve(performance.now() - begin);
      });
      observer.observe(title, { childList: true, characterData: true, subtree: true });
    });
    box.value = query.slice(0, end);
    box.dispatchEvent(new Event("input"));
    times.push(await Promise.race([answered, new Promise((late) => setTimeout(late, 5000, 5000))]));
    await new Promise((next) => setTimeout(next, 120));
  }
  return times;
}"""
# Draws a lasso around the middle of the map with pointer events; returns ms and the list's title.
LASSO = """async (share) => {
  const canvas = document.querySelectorAll(".conduit-explorer-map canvas")[1];
  const title = document.querySelector(".conduit-explorer-list-title");
  const { width, height, left, top } = canvas.getBoundingClientRect();
  const send = (type, x, y) => {
    const at = { clientX: left + x * width, clientY: top + y * height };
    canvas.dispatchEvent(new PointerEvent(type, { ...at, shiftKey: true, bubbles: true }));
  };
  canvas.setPointerCapture = () => {};
  send("pointerdown", 0.5 + share, 0.5);
  for (let turn = 1; turn <= 40; turn += 1) {
    send("pointermove", 0.5 + share * Math.cos(turn / 6.4), 0.5 + share * Math.sin(turn / 6.4));
  }
  const begin = performance.now();
  const listed = new Promise((resolve) => {
    const observer = new MutationObserver(() => {
      if (!title.textContent.includes("selected")) return;
      observer.disconnect();
      resolve([performance.now() - begin, title.textContent]);
    });
    observer.observe(title, { childList: true, characterData: true, subtree: true });
  });
  send("pointerup", 0.5 + share, 0.5);
  return await listed;
}"""
# Pans and zooms with keys for 60 frames each; returns the times between frames.
FRAMES = """async () => {
  const canvas = document.querySelectorAll(".conduit-explorer-map canvas")[1];
  const times = [];
  let last = performance.now();
  for (let frame = 0; frame < 120; frame += 1) {
    const key = frame < 60 ? ["ArrowLeft", "ArrowRight"][frame % 2] : frame < 90 ? "+" : "-";
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    await new Promise((next) => requestAnimationFrame(next));
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times;
}"""


def made_store() -> VectorStore:
    """Return the store of 100,000 entries; create it if missing."""
    embedder = load_model(str(MODEL))
    if STORE.exists():
        return VectorStore(path=STORE, embedder=embedder)
    found = list(_sentences())
    sentences, sections = [text for text, _ in found], [section for _, section in found]
    vectors = embedder.encode_document(sentences)
    random = np.random.default_rng(0)
    pairs = random.integers(0, len(sentences), (ENTRIES, 2))
    mixed = SHARES[0] * vectors[pairs[:, 0]] + SHARES[1] * vectors[pairs[:, 1]]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    STORE.parent.mkdir(parents=True, exist_ok=True)
    store = VectorStore(path=STORE, embedder=embedder)
    for at in range(0, ENTRIES, 10_000):
        part = pairs[at : at + 10_000].tolist()
        store.add_many(
            [f"pair#{at + i}" for i in range(len(part))],
            mixed[at : at + 10_000],
            [{"section": sections[a], "sentence": a, "other": b} for a, b in part],
            [f"{sentences[a]} {sentences[b]}" for a, b in part],
        )
    return store


def in_python() -> None:
    """Print the times of each part."""
    store = made_store()
    store.search("warm")
    explorers: list[Explorer] = []
    times = _timed(lambda: explorers.append(store.explore()), 3)
    print(f"explore(): {times}")
    explorer = explorers[-1]
    print(f"static form: {_timed(lambda: _fresh(explorer), 3)}")
    print(f"static form: {len(explorer._repr_mimebundle_()['text/html']):,} bytes")
    each = []
    for query in QUERIES * 4:
        begin = perf_counter()
        explorer.locate(query, 10, None, "dense")
        each.append(perf_counter() - begin)
    print(f"a search: p50 {seconds(statistics.median(each))}, p95 {seconds(_p95(each))}")
    places = range(0, 10 * LASSOED, 10)
    print(f"select {LASSOED:,}: {_timed(lambda: explorer.select_places(places), 3)}")
    print(f"explorer.selection of {LASSOED:,}: {_timed(lambda: explorer.selection, 1)}")
    print(f"near duplicates and outliers: {_timed(lambda: explorer.map.neighbourhood, 1)}")
    found = explorer.map.neighbourhood
    print(f"{len(found.groups):,} groups, {len(found.outliers)} outliers")
    store.close()


def in_a_page() -> None:
    """Print the times from a key or button press to the DOM."""
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(ROOT))
    from tests.browser.conftest import CHROMIUM_FLAGS
    from tests.browser.lab import LabPage, serve_jupyter

    made_store().close()
    cells = [
        "import time\nfrom conduit_lab import VectorStore, load_model\n"
        "from conduit_lab.notebook.views import register\nregister()\n"
        f"store = VectorStore(path={str(STORE)!r}, embedder=load_model({str(MODEL)!r}))\n"
        "store.search('warm')\nbegin = time.time()",
        "begin = time.time()\nexplorer = store.explore()\nexplorer",
        "print(time.time() - begin)",
    ]
    home = Path(tempfile.mkdtemp())
    (home / "notebooks").mkdir()
    with serve_jupyter(home, home / "notebooks") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=CHROMIUM_FLAGS
        )
        page = LabPage(server, browser.new_context(viewport={"width": 1400, "height": 1000}))
        server.write_notebook("explorer.ipynb", cells)
        page.open("explorer.ipynb")
        page.page.set_default_timeout(120_000)
        page.run_to_end(0)
        begin = perf_counter()
        page.run(1)
        page.output(1).locator("img").or_(page.page.locator(".conduit-explorer")).first.wait_for()
        print(f"first picture: {seconds(perf_counter() - begin)} after the cell was run")
        page.page.locator(".conduit-explorer-chip").first.wait_for()
        print(f"live map: {seconds(perf_counter() - begin)} after the cell was run")
        page.page.get_by_role("button", name="near duplicate").or_(
            page.page.get_by_role("button", name="outlier")
        ).first.wait_for()
        print(f"near duplicates: {seconds(perf_counter() - begin)} after the cell was run")
        times = [t / 1_000 for query in QUERIES for t in page.page.evaluate(TYPE, query)]
        print(
            f"from a key to the hits in the DOM: {len(times)} letters, p50 "
            f"{seconds(statistics.median(times))}, p95 {seconds(_p95(times))}"
        )
        for share in (0.12, 0.2, 0.3):
            milliseconds, title = page.page.evaluate(LASSO, share)
            print(f"lasso: {milliseconds:.0f} ms to the list; {title}")
        page.page.keyboard.press("Escape")
        frames = page.page.evaluate(FRAMES)
        print(
            f"frames of a pan and a zoom: p50 {statistics.median(frames):.0f} ms, "
            f"p95 {_p95(frames):.0f} ms"
        )
        browser.close()


def _sentences() -> Iterator[tuple[str, str]]:
    """Yield each sentence of the handbook with its section."""
    for path in sorted((ROOT / "data" / "handbook").rglob("*.md")):
        text = without_marks(path.read_text("utf-8"))
        for start, end in sentence_spans(text):
            if end - start > 20:
                yield text[start:end], path.parent.name


def _fresh(explorer: Explorer) -> None:
    explorer._card = None
    explorer._repr_mimebundle_()


def _timed(call: Callable[[], object], rounds: int) -> str:
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = perf_counter(), process_time()
        call()
        walls.append(perf_counter() - wall)
        cpus.append(process_time() - cpu)
    return f"{seconds(min(walls))} ({seconds(min(cpus))} of CPU), best of {rounds}"


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


if __name__ == "__main__":
    in_a_page() if sys.argv[1:] == ["page"] else in_python()
