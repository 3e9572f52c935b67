"""The browser side of an answer's view with hand-written messages; nothing moves when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page

from conduit_lab.flow.answer_stream import AnswerDraft
from conduit_lab.flow.cited_answer import CitedAnswer
from conduit_lab.notebook.hub import joined_script, joined_style
from conduit_lab.notebook.views.answer.view import AnswerView

pytestmark = pytest.mark.browser

MOUNT = """async (source) => {
    const blob = new Blob([source], { type: "text/javascript" });
    const { default: View } = await import(URL.createObjectURL(blob));
    window.sent = [];
    window.view = new View({ send: (content) => window.sent.push(content) });
    document.querySelector(".jp-OutputArea-output").append(window.view.root);
    window.view.placed();
}"""
SOURCE = f"{joined_script(default=False)}\nexport default VIEWS.answer;"
REPLACE = """(html) => {
    const host = document.querySelector(".jp-OutputArea-output");
    window.view.ending(host);
    host.innerHTML = html;
    return new Promise((painted) => requestAnimationFrame(painted));
}"""
RECTANGLES = """() => {
    const found = document.querySelectorAll(".jp-OutputArea-output :is(sup, em, summary, b)");
    return [...found].map((node) => node.getBoundingClientRect()).filter((box) => box.width)
        .map(({ x, y, width }) => [x, y, width].map(Math.round));
}"""
CARD = {
    "number": "1",
    "title": "Refunds",
    "share": 0.7,
    "score": "0.700",
    "excerpt": [["A refund takes five days.", True], [" Then.", False]],
    "summary": "the whole passage",
    "passage": [["## Refunds\n\n", False], ["A refund takes five days.", True], [" Then.", False]],
    "facts": "kind: returns",
}


class AnswerPage:
    """The view of one answer in a blank page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._seq = 0
        page.set_content(f"<style>{joined_style()}</style><div class='jp-OutputArea-output'></div>")
        page.evaluate(MOUNT, SOURCE)

    def receive(self, *, skip: int = 0, **message: Any) -> None:
        """Deliver the next message, after `skip` that are lost."""
        self._seq += skip
        self.page.evaluate(
            "(message) => window.view.receive(message)", message | {"seq": self._seq}
        )
        self._seq += 1

    def begin(self) -> None:
        """Deliver the first message."""
        self.receive(whole=True, question="How long?", facts=["● running", "1 source"])

    @property
    def answer(self) -> Locator:
        """The answer's text with its numbers."""
        return self.page.locator(".conduit-answer-text")

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The messages that the page has sent."""
        sent: list[dict[str, Any]] = self.page.evaluate("window.sent")
        return sent

    def end(self, html: str) -> None:
        """Replace the view by its static form."""
        self.page.evaluate(REPLACE, html)


@pytest.fixture
def shown(browser: Browser) -> Iterator[AnswerPage]:
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    yield AnswerPage(context.new_page())
    context.close()


def test_the_text_grows_and_gets_its_numbers(shown: AnswerPage) -> None:
    shown.begin()
    shown.receive(text="A refund takes", numbers=[], cards=[CARD])
    shown.receive(text=" 😀 3.", numbers=[[20, "1"]])
    assert shown.answer.inner_html().endswith(
        '3.<sup style="font-size: 12px; line-height: 0; padding-left: 2px;">1</sup>'
    )
    shown.receive(text="5 days", numbers=[])
    assert shown.answer.inner_text() == "A refund takes 😀 3.5 days"
    shown.receive(text=". Then", numbers=[[27, "1"]])
    shown.receive(text=" more.", numbers=[[27, "1"], [38, "2"]])
    assert shown.answer.inner_text() == "A refund takes 😀 3.5 days.1 Then more.2"
    assert shown.sent == []


def test_a_complete_sentence_is_not_made_again(shown: AnswerPage) -> None:
    shown.begin()
    shown.receive(text="One. Two", numbers=[[4, "1"]])
    number = shown.answer.locator("sup").element_handle()
    shown.receive(text=" is. Three", numbers=[[4, "1"], [12, "2"]])
    assert number is not None and number.evaluate("(node) => node.isConnected")
    assert shown.answer.inner_text() == "One.1 Two is.2 Three"


def test_a_missed_message_is_asked_for(shown: AnswerPage) -> None:
    shown.begin()
    shown.receive(text="One. ", numbers=[])
    shown.receive(skip=1, text="three. ")
    assert shown.sent == [{"replay": True}]
    shown.receive(whole=True, question="How long?", text="One. Two. three. ", numbers=[[4, "1"]])
    assert shown.answer.inner_text().strip() == "One.1 Two. three."


def test_the_sources_come_at_once_with_their_marks(shown: AnswerPage) -> None:
    shown.begin()
    shown.receive(numbers=[], cards=[CARD])
    assert shown.page.locator("em").all_text_contents() == ["A refund takes five days."] * 2
    score = shown.page.get_by_text("0.700")
    assert "70%" in score.evaluate("(node) => node.style.background")
    shown.page.locator("summary").click()
    shown.receive(cards=[{**CARD, "excerpt": [["A refund", False]]}])
    assert shown.page.locator("details[open]").count() == 1


def test_without_sources_the_note_stands_below_the_answer(shown: AnswerPage) -> None:
    shown.begin()
    shown.receive(text="I do not know.", numbers=[], cards=[], notes=["The nearest scored 0.12."])
    text = shown.page.locator(".conduit-answer").inner_text()
    assert text.index("I do not know.") < text.index("The nearest scored 0.12.")
    assert shown.page.locator("em, details").count() == 0


@pytest.mark.parametrize("way", ["click", "key"])
def test_stop_is_sent(shown: AnswerPage, way: str) -> None:
    shown.begin()
    stop = shown.page.get_by_role("button", name="Stop")
    if way == "click":
        stop.click()
    else:
        stop.press("Escape")
    assert shown.sent == [{"stop": True}] and stop.is_disabled() is True
    shown.receive(facts=["■ cancelled"])
    assert not stop.is_visible()


def test_hostile_text_stays_text(shown: AnswerPage) -> None:
    evil = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
    told = {**CARD, "title": evil, "score": evil, "summary": evil, "facts": evil, "number": evil}
    told |= {"excerpt": [[evil, True]], "passage": [[evil, False]]}
    shown.receive(whole=True, question=evil, facts=[f"● {evil}"], text=evil, notes=[evil])
    shown.receive(numbers=[[5, evil]], cards=[told])
    html = shown.page.evaluate("window.view.snapshot('● <b>running')")
    shown.end(html)
    assert shown.page.locator("img, script").count() == 0
    assert shown.page.evaluate("window.hacked") is None
    assert "● <b>running" in shown.page.locator(".jp-OutputArea-output").inner_text()


SOURCES = [
    {
        "id": f"{number}",
        "score": 1.0,
        "title": f"Refunds {number}",
        "span": [0, 9],
        "kind": "returns",
        "text": f"## H\n\n{'Some words come before it. ' * 9}A refund takes {number} days. "
        + "Others come after it. " * 20,
    }
    for number in (5, 7, 9)
]


@pytest.mark.parametrize("width", [1300, 480])
def test_nothing_moves_when_the_answer_ends(shown: AnswerPage, width: int) -> None:
    shown.page.set_viewport_size({"width": width, "height": 900})
    draft = AnswerDraft("How long does a refund take?")
    draft.found = CitedAnswer("", SOURCES, draft.question, 0.7, 0.38, {"5": 0.7, "9": 0.5})
    stream: Any = SimpleNamespace(draft=draft, facts=["● running", "3 sources"], notes=[])
    view = AnswerView(stream, lambda message: shown.receive(**message | {"skip": 0}))
    for text in ("A refund takes 5 days. ", "Others say that it ", "takes 9 days."):
        draft.add(text, text)
        view.flush()
    shown.page.locator("summary").nth(1).click()
    before = shown.page.evaluate(RECTANGLES)
    text = shown.page.locator(".jp-OutputArea-output").inner_text()
    answer = draft.answer
    shown.end(f"<div>{answer._view().html()}</div>")
    assert shown.page.evaluate(RECTANGLES)[1:] == before[1:] and len(before) == 12
    ended = shown.page.locator(".jp-OutputArea-output").inner_text()
    unused = "; no sentence of the answer was found in it"
    assert unused in ended
    body = ended.replace(unused, "").partition(draft.question)[2]
    assert text.partition(draft.question)[2].startswith(body)
    assert shown.page.locator("details").nth(1).get_attribute("open") is not None
