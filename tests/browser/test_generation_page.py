"""The browser side of a generation's view with hand-written messages through the hub's script."""

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
    const { default: hub, VIEWS } = await import(URL.createObjectURL(blob));
    const View = VIEWS.generation;
    VIEWS.generation = class extends View {
        constructor(options) {
            super(options);
            window.view = this;
        }
    };
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
        page.evaluate(OPEN, f"{joined_script()}\nexport {{ VIEWS }};")

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


ROWS = [
    [11, " two", 0.5, 0.8, None],
    [12, " <b>2</b>", 0.25, 0.2, None],
    [13, " 2", 0.125, 0, "top_p"],
]


def test_the_text_follows_the_prompt_and_known_tokens_are_skipped(shown: GenerationPage) -> None:
    shown.begin("Count:")
    shown.pour([" one", " two"])
    shown.pour([" two", " three"], offset=1)
    assert shown.text() == " one two three"
    assert shown.page.locator(".conduit-generation-prompt").first.inner_text() == ""  # no block
    assert shown.columns().inner_text() == "Count: one two three"
    header = shown.page.locator(".conduit-header").first
    shown.figures(0, "● running", "41.2 tokens/s", "first 34 ms", "3 of 200")
    assert "● running · 41.2 tokens/s · first 34 ms · 3 of 200" in header.inner_text()
    assert shown.sent == []


def test_a_long_prompt_has_a_place_of_its_own(shown: GenerationPage) -> None:
    shown.begin("user\nHow many?\nassistant\n")
    shown.pour(["Two"])
    assert shown.columns().inner_text() == "Two"
    prompt = shown.page.locator(".conduit-generation-block")
    assert prompt.inner_text() == "user\nHow many?\nassistant"
    beside = prompt.bounding_box(), shown.columns().bounding_box()
    assert beside[0] and beside[1] and beside[0]["x"] + 300 < beside[1]["x"]
    shown.page.set_viewport_size({"width": 480, "height": 800})
    below = prompt.bounding_box(), shown.columns().bounding_box()
    assert below[0] and below[1] and below[0]["x"] == below[1]["x"]


def test_a_gap_is_noticed_and_filled_by_a_replay(shown: GenerationPage) -> None:
    shown.begin()
    shown.pour([" one"])
    shown.pour([" three"], offset=2)
    shown.pour([" four"], offset=3)
    assert shown.sent == [{"replay": True}]  # asked once
    shown.pour([" one", " two", " three", " four"])
    assert shown.text() == " one two three four"


def test_text_is_never_markup(shown: GenerationPage) -> None:
    attack = "<img src=x onerror='window.broken = true'>"
    shown.begin(attack)
    shown.pour([attack, "b"])
    shown.branch(1, 0, 1, f"a › {attack}")
    shown.pour([attack], number=1)
    shown.figures(1, f"● running{attack}", attack, error=attack)
    shown.tokens().first.click()
    rows = [[1, attack, 0.1, 0.1, attack]]
    shown.receive(alternatives={"number": 0, "index": 0, "chosen": 2, "rows": rows})
    shown.receive(problem={"number": 0, "index": 0, "sentence": attack})
    assert shown.page.locator("img, script").count() == 0
    assert shown.page.evaluate("window.broken") is None


def test_p_tints_the_tokens_and_each_says_its_probability(shown: GenerationPage) -> None:
    shown.begin()
    shown.pour([" sure", " maybe"], probability=0.2)
    token = shown.tokens().nth(1)
    token.hover()
    assert token.get_attribute("title") == "p 0.20"
    token.click()
    ground = "token => getComputedStyle(token).backgroundColor"
    assert token.evaluate(ground) == "rgba(0, 0, 0, 0)"
    shown.page.keyboard.press("p")
    assert token.evaluate(ground) == "rgba(0, 114, 178, 0.4)"
    assert shown.page.get_by_role("button", name="maybe, probability 0.20").count() == 1
    shown.page.get_by_role("button", name="Probabilities").click()
    assert token.evaluate(ground) == "rgba(0, 0, 0, 0)"


def test_alternatives_open_below_the_line_and_name_what_cut_them(shown: GenerationPage) -> None:
    shown.begin()
    shown.pour([f" word{number}" for number in range(100)])
    shown.tokens().nth(3).click()
    assert shown.sent == [{"alternatives": [0, 3]}]
    shown.receive(alternatives={"number": 0, "index": 3, "chosen": 11, "rows": ROWS})
    rows = shown.page.locator(".conduit-generation-row")
    assert [row.split() for row in rows.all_inner_texts()] == [
        ["␣two", "0.50", "0.80"],
        ["␣<b>2</b>", "0.25", "0.20"],
        ["␣2", "0.13", "cut", "by", "top_p"],
    ]
    assert rows.nth(0).is_disabled()
    name = "␣<b>2</b>, probability 0.25, sampled with 0.20"
    assert shown.page.get_by_role("button", name=name).count() == 1
    tops = [shown.tokens().nth(index).bounding_box() for index in (3, 99)]
    panel = shown.page.locator(".conduit-generation-panel").bounding_box()
    assert panel and tops[0] and tops[1]
    assert tops[0]["y"] < panel["y"] < tops[0]["y"] + 40  # the next line begins after it
    assert tops[1]["y"] > panel["y"] + panel["height"]
    shown.page.keyboard.press("Escape")
    assert shown.page.locator(".conduit-generation-panel").count() == 0
    assert "stop" not in str(shown.sent)


def test_a_click_and_a_typed_text_branch(shown: GenerationPage) -> None:
    shown.begin()
    shown.pour([" one", " two"])
    shown.tokens().nth(1).click()
    shown.receive(alternatives={"number": 0, "index": 1, "chosen": 11, "rows": ROWS})
    shown.page.locator(".conduit-generation-row").nth(2).click()
    field = shown.page.get_by_role("textbox", name="Type what comes instead")
    field.fill(" pour")  # its letters are text here
    field.press("p")
    field.press("Enter")
    assert shown.sent[1:] == [{"branch": [0, 1, 13]}, {"branch": [0, 1, " pourp"]}]
    shown.receive(problem={"number": 0, "index": 1, "sentence": "no room left"})
    assert shown.page.get_by_role("alert").inner_text() == "no room left"


def test_branches_stand_beside_their_parent_at_most_three(shown: GenerationPage) -> None:
    shown.begin("P:")
    shown.pour([" a", " b", " c"])
    shown.branch(1, 0, 1, "w › x")
    shown.pour([" x", " y"], number=1)
    shown.branch(2, 1, 2, "w › z")
    shown.pour([" z"], number=2)
    assert [shown.text(column) for column in range(3)] == [" a b c", " a x y", " a x z"]
    quiet = shown.columns().nth(2).locator(".conduit-generation-common")
    assert quiet.all_text_contents() == [" a", " x"]
    shown.branch(3, 0, 2, "w › d")
    shown.pour([" d"], number=3)
    assert shown.columns().count() == 3
    assert [shown.text(column) for column in range(3)] == [" a b c", " a x z", " a b d"]
    rail = shown.page.locator(".conduit-generation-branch")
    assert [row.get_attribute("aria-pressed") for row in rail.all()] == [
        "true",
        "false",
        "true",
        "true",
    ]
    rail.nth(1).click()
    assert [shown.text(column) for column in range(3)] == [" a b c", " a x y", " a b d"]
    shown.page.set_viewport_size({"width": 480, "height": 800})
    shown.page.wait_for_function(
        "document.querySelectorAll('.conduit-generation-column').length === 1"
    )
    assert shown.text() == " a x y"


def test_each_branch_has_its_stop_and_escape_stops_all(shown: GenerationPage) -> None:
    shown.begin()
    shown.pour([" a"])
    shown.branch(1, 0, 0, "w › x")
    shown.pour([" x"], number=1)
    shown.columns().nth(1).get_by_role("button", name="Stop").click()
    shown.tokens().first.focus()
    shown.page.get_by_role("button", name="Probabilities").press("Escape")
    assert shown.sent == [{"stop": 1}, {"stop": "all"}]
    for number in (0, 1):
        shown.figures(number, "■ cancelled", "1 of 9")
    assert shown.page.get_by_role("button", name="Stop").count() == 0


def test_arrows_move_between_tokens_and_enter_opens(shown: GenerationPage) -> None:
    shown.begin("")
    shown.pour([f"{number:03} " for number in range(60)] + ["", "last"])
    shown.page.get_by_role("region", name="Text 1").focus()
    press = shown.page.keyboard.press
    focused = "document.activeElement.textContent"
    press("ArrowRight")
    press("ArrowRight")
    assert shown.page.evaluate(focused) == "001 "
    press("ArrowDown")
    below = int(shown.page.evaluate(focused))
    assert below > 10
    press("ArrowUp")
    assert shown.page.evaluate(focused) == "001 "
    press("Enter")
    assert shown.sent == [{"alternatives": [0, 1]}]
    press("Escape")
    shown.tokens().nth(59).focus()
    shown.tokens().nth(59).evaluate("token => { token.tabIndex = -1; token.focus(); }")
    press("ArrowRight")
    assert shown.page.evaluate(focused) == "last"  # past the token without a text of its own


def test_a_long_paragraph_is_divided_at_its_line_ends(shown: GenerationPage) -> None:
    shown.begin()
    shown.pour([f" word{number}" for number in range(3000)])
    assert shown.text() == "".join(f" word{number}" for number in range(3000))
    parts = shown.page.locator(".conduit-generation-paragraph")
    assert parts.count() > 3
    lefts = "parts => parts.map((part) => part.lastElementChild.getBoundingClientRect().right)"
    assert min(parts.evaluate_all(lefts)[:-1]) > 600  # of 720 px: a full line
    shown.page.set_viewport_size({"width": 480, "height": 800})
    shown.page.wait_for_function(
        "document.querySelector('.conduit-generation-column').clientWidth < 480"
    )
    assert shown.text() == "".join(f" word{number}" for number in range(3000))


def test_the_look_is_remembered_and_restored(shown: GenerationPage) -> None:
    shown.begin()
    shown.pour([" a", " b"])
    shown.tokens().nth(1).click()
    shown.page.keyboard.press("p")
    look = shown.page.evaluate("window.sent.at(-1).look")
    assert look == {"tinted": True, "shown": [0], "open": [0, 1]}
    again = GenerationPage(shown.page)
    told = {"number": 0, "parent": None, "position": 0, "common": 0, "name": "w", "prompt": ""}
    again.receive(look=look, streams=[told], tokens=[[0, 0, [" a", " b"], [-0.1, -0.1]]])
    assert again.page.locator(".conduit-generation-tinted").count() == 1
    assert again.page.locator(".conduit-generation-panel").count() == 1
    assert again.sent == [{"alternatives": [0, 1]}]


def test_the_focus_stays_when_the_output_is_rendered_again(shown: GenerationPage) -> None:
    shown.begin()
    shown.pour([" a", " b"])
    shown.tokens().nth(1).click()
    shown.page.get_by_role("textbox").fill("text")
    shown.page.evaluate(
        """async (key) => {
        document.querySelector("[data-conduit-view]").remove();
        const place = document.createElement("div");
        place.dataset.conduitView = key;
        document.body.append(place);
        await new Promise((done) => setTimeout(done, 20));
    }""",
        KEY,
    )
    assert shown.page.evaluate("document.activeElement.value") == "text"
    assert shown.text() == " a b"


def test_a_save_in_mid_stream_holds_texts_and_a_later_one_the_kernels_form(
    shown: GenerationPage,
) -> None:
    shown.begin("<b>")
    shown.pour([" <i>"], probability=0.2)
    shown.branch(1, 0, 0, "w › x")
    shown.pour([" x"], number=1)
    html = shown.page.evaluate("window.view.snapshot('● running when this was saved')")
    assert "&#60;b&#62;" in html
    assert '<span style="background:rgba(0,114,178,0.40)"> &#60;i&#62;</span>' in html
    assert "<details><summary>w › x" in html
    for number in (0, 1):
        shown.figures(number, "✓ done")
    assert shown.page.evaluate("window.view.snapshot('x')") is None
