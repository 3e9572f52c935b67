"""Streams of numbers, rows, pictures and sound: live, and still in place when they have ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from conduit_lab.core.streams.media import wav
from conduit_lab.core.streams.side_by_side import SideBySide
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.hub import joined_script, joined_style
from conduit_lab.notebook.views.stream.view import StreamView
from conduit_lab.notebook.views.streams.streams_view import StreamsView
from tests.browser.lab import JupyterServer, LabPage

pytestmark = pytest.mark.browser

WAIT = 10  # seconds that nothing here should need
SOURCE = f"{joined_script(default=False)}\nexport default VIEWS;"
MOUNT = """async ([source, noun]) => {
    const blob = new Blob([source], { type: "text/javascript" });
    const { default: views } = await import(URL.createObjectURL(blob));
    window.sent = [];
    window.view = new views[noun]({ send: (content) => window.sent.push(content) });
    document.querySelector("#live").append(window.view.root);
}"""
DELIVER = """(messages) => {
    messages.forEach((message) => window.view.receive(message));
    return new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
}"""
HEIGHTS = "() => ['live', 'static'].map((id) => document.getElementById(id).offsetHeight)"


class Shown:
    """A live view in a blank page, fed by the kernel's half, with the static form below."""

    def __init__(self, page: Page, noun: str) -> None:
        self.page = page
        self.messages: list[Any] = []
        page.set_content(
            f"<style>{joined_style()} #static, #live {{ display: flow-root; }}</style>"
            '<div id="live"></div><div id="static"></div>'
        )
        page.evaluate(MOUNT, [SOURCE, noun])

    def deliver(self) -> None:
        """Deliver the messages since the last call and wait until they are painted."""
        messages, self.messages = self.messages, []
        self.page.evaluate(DELIVER, messages)

    def show_static(self, value: Any) -> None:
        """Show the static form of `value` below."""
        html = value._repr_mimebundle_()["text/html"]
        self.page.evaluate(
            "(html) => { document.getElementById('static').innerHTML = html; }", html
        )

    def words(self, place: str) -> list[str]:
        """Return the lines of text of one form below its header."""
        return self.page.locator(place).inner_text().split("\n")[1:]


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[[str], Shown]]:
    context = browser.new_context(viewport={"width": 480, "height": 900})
    yield lambda noun: Shown(context.new_page(), noun)
    context.close()


def waves(step: int) -> Any:
    return np.full((60, 80, 3), 10 * step, np.uint8)


def tone(second: int) -> bytes:
    return wav(np.sin(np.arange(800) / (3 + second)), 8000)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"step": n, "loss": 1 / (n + 1), "note": "<b>saved</b>"} for n in range(count)]


KINDS: dict[str, list[Any]] = {
    "numbers": [math.sin(n / 40) for n in range(300)],
    "numbers with gaps": [1.0, float("nan"), 3.0, 2.0, float("inf"), 2.5],
    "many numbers": [float(n % 700) for n in range(3000)],
    "rows": rows(35),
    "a few rows": rows(3),
    "pictures": [{"step": n, "image": waves(n)} for n in range(12)],
    "one picture": [waves(3)],
    "sounds": [tone(n) for n in range(3)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_live_form_has_the_words_and_the_height_of_the_static_one(
    show: Callable[[str], Shown], kind: str
) -> None:
    stream: Stream[Any] = Stream(KINDS[kind], name=kind)
    stream.wait(WAIT)
    shown = show("stream")
    view = StreamView(stream, shown.messages.append)
    view.flush()
    shown.deliver()
    shown.show_static(stream)
    live, static = shown.page.evaluate(HEIGHTS)
    assert live == static > 50
    assert shown.words("#live") == shown.words("#static")
    assert shown.page.locator("#live b, #live script").count() <= 2  # the name, the last number


@pytest.mark.parametrize("words", [40, 9000])
def test_a_text_keeps_its_height_with_what_is_left_out(
    show: Callable[[str], Shown], words: int
) -> None:
    stream = Stream((f"word {n} " for n in range(words)), keep=2**19)
    stream.wait(WAIT)
    shown = show("stream")
    view = StreamView(stream, shown.messages.append)
    for _ in range(4):
        view.flush()
        view._facts_at = 0.0  # the notes come a few times a second
    view.flush()
    shown.deliver()
    shown.show_static(stream)
    live, static = shown.page.evaluate(HEIGHTS)
    assert live == static
    left_out = shown.page.locator("#live").get_by_text("Part is not shown; all")
    assert left_out.count() == (words == 9000)
    dropped = shown.page.locator("#live").get_by_text("are no longer available")
    assert dropped.count() == (words == 9000)


def test_the_lines_of_both_forms_are_the_same(show: Callable[[str], Shown]) -> None:
    stream: Stream[Any] = Stream(KINDS["numbers with gaps"])
    stream.wait(WAIT)
    shown = show("stream")
    StreamView(stream, shown.messages.append).flush()
    shown.deliver()
    shown.show_static(stream)
    same = """() => {
        const attributes = (path) => [...path.attributes].map(({ name, value }) => name + value);
        const paths = (node) => [...node.querySelectorAll("path")].map((path) => attributes(path)
            .sort());
        const source = atob(document.querySelector("#static img").src.split(",")[1]);
        const still = new DOMParser().parseFromString(source, "image/svg+xml");
        return [paths(document.querySelector("#live svg")), paths(still)];
    }"""
    live, static = shown.page.evaluate(same)
    assert live == static
    assert len(live) == 2


def test_a_table_grows_and_its_columns_stay(show: Callable[[str], Shown]) -> None:
    stream: Stream[Any] = Stream(rows(30))
    stream.wait(WAIT)
    shown = show("stream")
    view = StreamView(stream, shown.messages.append)
    first = stream.shown
    first.update(25)
    view.flush()
    shown.deliver()
    cells = shown.page.locator("#live td:first-child")
    assert cells.all_inner_texts() == [str(n) for n in range(10, 30)]
    assert shown.page.locator("#live th").all_inner_texts() == ["row", "step", "loss", "note"]


def test_a_lost_message_is_asked_for(show: Callable[[str], Shown]) -> None:
    stream: Stream[Any] = Stream([1.0, 2.0, 3.0])
    stream.wait(WAIT)
    shown = show("stream")
    view = StreamView(stream, shown.messages.append)
    view.flush()
    shown.deliver()
    lost = {"seq": 2, "shape": "numbers", "whole": False, "part": {}}
    shown.page.evaluate(DELIVER, [lost])
    assert shown.page.evaluate("window.sent") == [{"replay": True}]


def test_sound_is_played_from_the_page_itself(show: Callable[[str], Shown]) -> None:
    stream: Stream[Any] = Stream(KINDS["sounds"])
    stream.wait(WAIT)
    shown = show("stream")
    StreamView(stream, shown.messages.append).flush()
    shown.deliver()
    shown.page.wait_for_function("document.querySelector('#live audio').duration > 0")
    assert shown.page.evaluate("document.querySelector('#live audio').duration") == pytest.approx(
        0.3
    )


def test_a_listener_goes_on_where_the_static_form_takes_over(show: Callable[[str], Shown]) -> None:
    stream: Stream[Any] = Stream([wav(np.zeros(8000 * 60, np.int16), 8000)])
    stream.wait(WAIT)
    shown = show("stream")
    StreamView(stream, shown.messages.append).flush()
    shown.deliver()
    play = """async () => {
        const audio = document.querySelector("#live audio");
        audio.muted = true; // a page may play no sound before a click
        audio.currentTime = 30;
        await audio.play();
        HTMLMediaElement.prototype.play = function () {
            this.asked = true;
            return Promise.resolve();
        };
        window.view.ending(document.querySelector("#static"));
    }"""
    shown.page.evaluate(play)
    shown.show_static(stream)
    shown.page.wait_for_function("document.querySelector('#static audio')?.asked")
    assert shown.page.evaluate("document.querySelector('#static audio').currentTime") >= 30


def test_a_snapshot_holds_pictures_that_every_host_keeps(show: Callable[[str], Shown]) -> None:
    stream: Stream[Any] = Stream(rows(30), name="<i>training</i>")
    stream.wait(WAIT)
    shown = show("stream")
    StreamView(stream, shown.messages.append).flush()
    shown.deliver()
    html = shown.page.evaluate("window.view.snapshot('■ the kernel was restarted')")
    assert "■ the kernel was restarted · 30 chunks" in html.replace("</span>", "").replace(
        '<span style="opacity:.7">', ""
    )
    assert html.count('src="data:image/svg+xml;base64,') == 2
    assert "<svg" not in html
    assert "<i>" not in html


def test_streams_side_by_side_keep_their_height(show: Callable[[str], Shown]) -> None:
    streams: list[Stream[Any]] = [Stream(KINDS[kind], name=kind) for kind in ("numbers", "rows")]
    streams.append(Stream(["a ", "story"], name="story"))
    for stream in streams:
        stream.wait(WAIT)
    group = SideBySide(streams)
    shown = show("streams")
    shown.page.set_viewport_size({"width": 1000, "height": 900})
    StreamsView(group, shown.messages.append).flush()
    shown.deliver()
    shown.show_static(group)
    live, static = shown.page.evaluate(HEIGHTS)
    assert live == static
    assert shown.page.locator("#live .conduit-stream").count() == 3
    tops = shown.page.locator("#live .conduit-stream").evaluate_all(
        "views => views.map((view) => view.getBoundingClientRect().top)"
    )
    assert tops[0] == tops[1]  # side by side


def test_stop_all_and_stop_of_one(show: Callable[[str], Shown]) -> None:
    streams: list[Stream[Any]] = [Stream(["a"]), Stream(["b"])]
    group = SideBySide(streams)
    shown = show("streams")
    StreamsView(group, shown.messages.append).flush()
    running = [
        message | {"facts": ["● running"]} for message in shown.messages if "names" in message
    ]
    shown.page.evaluate(DELIVER, running)
    shown.page.locator("#live .conduit-stream").nth(1).get_by_role("button").click()
    shown.page.get_by_role("button", name="Stop all").click()
    assert shown.page.evaluate("window.sent") == [
        {"to": 1, "message": {"stop": True}},
        {"stop": True},
    ]


SETUP = """
import threading
import numpy as np
from conduit_lab.core.streams.media import wav
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.views import register
register()
end = threading.Event()

def held(chunks):
    yield from chunks
    end.wait(60)

def numbers():
    return [np.sin(n / 20) for n in range(200)]

def rows():
    return [{"step": n, "loss": 1 / (n + 1)} for n in range(40)]

pictures = [{"step": n, "image": np.full((60, 80, 3), 9 * n, np.uint8)} for n in range(20)]
sounds = [wav(np.sin(np.arange(800) / n), 8000) for n in (3, 4)]
"""
CELLS = [
    "Stream(held(numbers()), name='sine')",
    "Stream(held(rows()), name='training')",
    "Stream(held(pictures), name='drawing')",
    "Stream(held(sounds), name='hum')",
    "[Stream(held(numbers()), name='left'), Stream(held(['a story']), name='right')]",
    "end.set()",
]
PLACES = """() => [...document.querySelectorAll(".jp-Notebook .jp-Cell")]
    .map((cell) => Math.round(cell.getBoundingClientRect().top))"""


def test_every_kind_is_live_and_no_cell_moves_when_it_ends(
    lab_page: LabPage, jupyter: JupyterServer
) -> None:
    jupyter.write_notebook("kinds.ipynb", [SETUP, *CELLS])
    lab_page.page.set_viewport_size({"width": 1400, "height": 3200})
    lab_page.open("kinds.ipynb")
    for cell in range(len(CELLS)):
        lab_page.run_to_end(cell)
    page = lab_page.page
    for text in ("200 numbers", "the last 20 of 40 rows", "5 of 20 pictures", "2 segments"):
        page.locator(".conduit-stream").get_by_text(text).first.wait_for()
    page.locator(".conduit-streams").get_by_text("a story").wait_for()
    assert page.locator(".conduit-stream").count() == 6
    before = page.evaluate(PLACES)
    lab_page.run_to_end(len(CELLS))
    page.locator(".conduit-stream").first.wait_for(state="detached")
    page.wait_for_function("() => document.querySelectorAll('.conduit-view').length === 0")
    assert page.evaluate(PLACES) == before

    assert page.locator(".jp-OutputArea-output img").count() >= 9  # lines, pictures, a wave
    assert "Side by side 2 streams · ✓ done" in lab_page.output(5).inner_text()
    lab_page.save()
    for (saved,) in jupyter.read_outputs("kinds.ipynb")[1:-1]:
        assert set(saved["data"]) == {"text/html", "text/plain"}
    lab_page.shut_kernel_down()
    lab_page.open_without_kernel("kinds.ipynb")  # not trusted: its outputs pass the sanitizer
    lab_page.output(4).locator("audio[src^='data:audio/wav']").wait_for()
    assert lab_page.output(1).locator("img").evaluate("image => image.naturalHeight") > 0
    lab_page.shut_kernel_down()
