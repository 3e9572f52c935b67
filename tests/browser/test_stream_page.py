"""view.js in isolation: how the page handles the messages of a live view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from conduit_lab.notebook.hub import joined_script, joined_style

pytestmark = pytest.mark.browser

STYLE = joined_style()
MOUNT = """async (source) => {
    const blob = new Blob([source], { type: "text/javascript" });
    const { default: View } = await import(URL.createObjectURL(blob));
    window.sent = [];
    const view = new View({ send: (content) => window.sent.push(content) });
    document.body.append(view.root);
    window.receive = (message) => view.receive(message);
    window.view = view;
}"""
NOTE = "The first 12 chunks are no longer available."
SOURCE = f"{joined_script(default=False)}\nexport default VIEWS.stream;"

DELIVER = """(message) => {
    window.receive(message);
    return new Promise((painted) => requestAnimationFrame(painted));
}"""


class StreamPage:
    """The view of one stream in a blank page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._seq = 0
        page.set_content(f"<style>{STYLE}</style>")
        page.evaluate(MOUNT, SOURCE)

    def receive(self, text: str, offset: int, dropped: int = 0, **more: Any) -> None:
        """Deliver one message, in order."""
        message: dict[str, Any] = {
            "seq": self._seq,
            "dropped": dropped,
            "offset": offset,
            "text": text,
        }
        self._seq += 1
        self.page.evaluate(DELIVER, message | more)

    @property
    def text(self) -> str:
        """The running text that is shown."""
        return self.page.locator(".conduit-stream-text").text_content() or ""

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The messages that the page has sent."""
        sent: list[dict[str, Any]] = self.page.evaluate("window.sent")
        return sent

    def scroll_top(self) -> float:
        """How far the text is scrolled, in pixels."""
        return float(self.page.evaluate("document.querySelector('.conduit-box').scrollTop"))


@pytest.fixture
def shown(browser: Browser) -> Iterator[StreamPage]:
    context = browser.new_context()
    yield StreamPage(context.new_page())
    context.close()


def test_deltas_are_appended_and_known_characters_skipped(shown: StreamPage) -> None:
    shown.receive("one 😀 ", offset=0)
    shown.receive("two ", offset=6)
    shown.receive("one 😀 two three", offset=0)  # a replay
    assert shown.text == "one 😀 two three"
    assert shown.sent == []


def test_a_gap_is_noticed_and_filled_by_a_replay(shown: StreamPage) -> None:
    shown.receive("one ", offset=0)
    shown.receive("three ", offset=8)  # "two " was lost
    shown.receive("four ", offset=14)
    assert shown.text == "one "
    assert shown.sent == [{"replay": True}]  # asked once
    shown.receive("one two three four ", offset=0)
    assert shown.text == "one two three four "


def test_a_snapshot_replaces_the_text_and_says_what_is_missing(shown: StreamPage) -> None:
    shown.receive("one ", offset=0)
    shown.receive(
        "late", offset=0, dropped=12, notes=["The first 12 chunks are no longer available."]
    )
    assert shown.text == "late"
    assert shown.page.get_by_text(NOTE).is_visible()


def test_text_is_never_markup(shown: StreamPage) -> None:
    attack = "<img src=x onerror='window.broken = true'><script>window.broken = true</script>"
    shown.receive(attack, offset=0, facts=["● running", "<b>1</b> chunks"], name="<i>story</i>")
    assert shown.text == attack
    assert shown.page.locator("img, script, i").count() == 0
    assert shown.page.evaluate("window.broken") is None


def test_an_image_is_a_data_url_of_an_image_or_nothing(shown: StreamPage) -> None:
    for url in ("https://127.0.0.1/a.png", "javascript:window.broken = true", "data:text/html,<b>"):
        shown.receive("", offset=0, image=url)
    assert shown.page.locator("img").count() == 0
    for end in ("first", "second"):
        shown.receive("", offset=0, image=f"data:image/png;base64,{end}")
    (source,) = shown.page.locator("img").evaluate_all("images => images.map((image) => image.src)")
    assert source == "data:image/png;base64,second"


def test_the_text_is_followed_until_the_reader_scrolls_up(shown: StreamPage) -> None:
    shown.receive("line\n" * 100, offset=0)
    followed = shown.scroll_top()
    assert followed > 0
    shown.receive("line\n" * 10, offset=500)
    assert shown.scroll_top() > followed
    shown.page.evaluate("document.querySelector('.conduit-box').scrollTop = 40")
    shown.receive("line\n" * 10, offset=550)
    assert shown.scroll_top() == 40


def test_whole_sentences_are_spoken(shown: StreamPage) -> None:
    spoken = shown.page.locator("[aria-live=polite]")
    shown.receive("It is 3.1", offset=0)
    assert spoken.text_content() == ""
    shown.receive("4 m long. And", offset=9)
    assert spoken.text_content() == "It is 3.14 m long."


def test_stop_by_button_and_by_escape(shown: StreamPage) -> None:
    button = shown.page.get_by_role("button", name="Stop")
    button.focus()
    shown.page.keyboard.press("Escape")
    assert shown.sent[-1] == {"stop": True}
    assert button.is_disabled()
    shown.receive("", offset=0, facts=["■ cancelled", "0 chunks"])
    assert not button.is_visible()
