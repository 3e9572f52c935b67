"""The page's half of a generation's view, fed by hand through the hub's joined script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page

from conduit_lab.notebook.hub import joined_script, joined_style

pytestmark = pytest.mark.browser

KEY = "generation-0a1b2c3d"
OPEN = """async (source) => {
    const blob = new Blob([source], { type: "text/javascript" });
    const { default: hub } = await import(URL.createObjectURL(blob));
    window.sent = [];
    const model = {
        on: (_, receive) => { window.receive = receive; },
        send: ({ message }) => { if (message) window.sent.push(message); },
    };
    await hub.initialize({ model });
}"""
DELIVER = """([key, message]) => {
    window.receive({ views: { [key]: [message] } });
    return new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
}"""


class GenerationPage:
    """The view of one tree of texts in a blank page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.set_content(
            f"<style>{joined_style()}</style><div data-conduit-view='{KEY}'>static</div>"
        )
        page.evaluate(OPEN, joined_script())

    def receive(self, **message: Any) -> None:
        """Deliver one message and wait until it is painted."""
        self.page.evaluate(DELIVER, [KEY, message])

    def begin(self, prompt: str = "A prompt") -> None:
        """Announce the value."""
        told = {"number": 0, "parent": None, "position": 0, "name": "writer", "prompt": prompt}
        self.receive(streams=[told | {"common": 0}])
        self.figures(0, "● running")

    def branch(self, number: int, parent: int, position: int, name: str) -> None:
        """Announce a branch."""
        told = {"number": number, "parent": parent, "position": position, "prompt": ""}
        self.receive(streams=[told | {"name": name, "common": position}])
        self.figures(number, "● running")

    def figures(self, number: int, *facts: str, error: str = "") -> None:
        """Deliver a header line."""
        told = {"number": number, "facts": list(facts), "rates": [1, 3, 2], "error": error}
        self.receive(facts=[told])

    def pour(
        self, texts: Sequence[str], number: int = 0, offset: int = 0, probability: float = 0.5
    ) -> None:
        """Deliver tokens."""
        self.receive(tokens=[[number, offset, list(texts), [log(probability)] * len(texts)]])

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The messages that the page has sent, without those that only remember its look."""
        sent: list[dict[str, Any]] = self.page.evaluate("window.sent")
        return [message for message in sent if "look" not in message]

    def columns(self) -> Locator:
        """The columns that are shown."""
        return self.page.locator(".conduit-generation-column")

    def tokens(self, column: int = 0) -> Locator:
        """The tokens of a column."""
        return self.columns().nth(column).locator(".conduit-token")

    def text(self, column: int = 0) -> str:
        """The tokens of a column as text."""
        return "".join(self.tokens(column).all_text_contents())


@pytest.fixture
def shown(browser: Browser) -> Iterator[GenerationPage]:
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    yield GenerationPage(context.new_page())
    context.close()
