"""The docs page of a served app in Chromium: forms, answers, streams, keys, hostile texts."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Browser, Page, expect
from pydantic import BaseModel, Field

from conduit_lab import App, ArrayShape, File, Lab
from conduit_lab.serving.gate.keys import Keys, new_key
from conduit_lab.serving.run.thread import Server

pytestmark = pytest.mark.browser

HOSTILE = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'
DONE = re.compile("✓ done")


class Message(BaseModel):
    text: str = Field(min_length=1)
    channel: Literal["mail", "chat"] = "mail"
    urgency: int = Field(3, ge=1, le=5)


class Visit:
    """One page of the docs of one app; fails where it logs an error or asks another host."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self._note(request.url))
        page.goto(f"{url}/docs")

    def _note(self, url: str) -> None:
        self.asked.append(url)
        if not url.startswith("data:"):
            self.hosts.add(url.split("/")[2].split(":")[0])

    def open(self, name: str) -> None:
        self.page.locator(f".page-list a[href='#{name}']").click()
        expect(self.page.locator(f".page-list a[href='#{name}']")).to_have_attribute(
            "aria-current", "page"
        )

    def field(self, name: str) -> Any:
        return self.page.get_by_label(name, exact=True)

    def run(self, state: re.Pattern[str] = DONE) -> str:
        self.page.locator(".conduit-form-run").click()
        expect(self.page.locator(".conduit-form-status")).to_contain_text(state)
        return self.answer()

    def answer(self) -> str:
        return self.page.locator(".conduit-form-answer").inner_text()


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    opened = []

    def open_page(url: str, width: int = 1400) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900})
        opened.append((context, made := Visit(context.new_page(), url)))
        return made

    yield open_page
    for context, made in opened:
        context.close()
        assert made.problems == []
        assert made.hosts <= {"127.0.0.1"}


@pytest.fixture
def app(tmp_path: Path) -> App:
    app = App("desk", root=tmp_path)

    @app.post("/triage")
    def triage(message: Message) -> Any:
        """Sort a message."""
        return [message.text, message.channel, message.urgency]

    @app.get("/search/{shelf}")
    def search(
        shelf: str,
        query: str,
        tags: list[str] = [],  # noqa: B006
        top: int | None = None,
        exact: bool = False,
    ) -> Any:
        return {"shelf": shelf, "query": query, "tags": tags, "top": top, "exact": exact}

    @app.post("/sum")
    def total(rows: Annotated[npt.NDArray[np.float32], ArrayShape("n", 2)]) -> Any:
        return rows.sum()

    @app.post("/scan")
    def scan(photo: File) -> Any:
        return [photo.name, photo.data.decode()]

    @app.post("/echo")
    def echo(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return value

    return app


def test_forms_send_what_their_fields_say(app: App, visit: Open, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hi")
    with Server(app, port=0) as server:
        here = visit(server.url)
        here.field("text").fill("a kettle")
        here.page.get_by_text("chat", exact=True).click()
        here.field("urgency").fill("5")
        assert here.run() == '["a kettle", "chat", 5]'

        here.open("search")
        here.field("shelf").fill("top left")
        here.field("query").fill("5 & 6")
        here.field("tags").fill("a\nb")
        here.field("exact").check()
        answer = here.run()
        assert here.asked[-1].endswith(
            "/search/top%20left?query=5%20%26%206&tags=a&tags=b&exact=true"
        )
        assert 'tags: ["a", "b"]' in answer
        assert "top: null" in answer

        here.open("total")
        here.field("rows").fill("[[1, 2], [3, 4.5]]")
        assert here.run() == "10.5"

        here.open("scan")
        here.field("photo").set_input_files(tmp_path / "note.txt")
        assert here.run() == '["note.txt", "hi"]'


def test_a_wrong_value_is_said_beside_its_field_and_nothing_is_sent(app: App, visit: Open) -> None:
    with Server(app, port=0) as server:
        here = visit(server.url)
        before = len(here.asked)
        here.field("urgency").fill("9")
        here.page.locator(".conduit-form-run").click()
        problems = here.page.locator(".conduit-form-problem:not(:empty)")
        expect(problems).to_have_text(["a value is required", "expected at most 5"])
        assert len(here.asked) == before
        here.open("total")
        here.field("rows").fill("[[1, 2, 3]]")
        assert "expected float32 [n, 2], got float32 [1, 3]" in here.run(
            re.compile("✕ failed · 400")
        )
        here.field("rows").fill("[[1, 2")
        here.page.locator(".conduit-form-run").click()
        expect(here.page.locator(".conduit-form-problem:not(:empty)")).to_contain_text(
            "expected JSON"
        )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            {"label": "up", "score": 0.9, "probabilities": {"down": 0.1, "up": 0.9}},
            ".conduit-form-bars",
        ),
        ([{"a": 1, "b": "x"}, {"a": 2, "b": None}], ".conduit-form-table"),
        ({"type": "image/png", "base64": "iVBORw0KGgo="}, ".conduit-form-picture"),
        ({"deep": {"er": [{"x": [1, {"y": 2}]}]}}, ".conduit-form-tree"),
        ("a text\nof two lines", ".conduit-form-text"),
        (None, ".conduit-form-null"),
    ],
    ids=["bars", "table", "picture", "tree", "text", "null"],
)
def test_an_answer_has_the_view_of_its_kind(app: App, visit: Open, value: Any, shown: str) -> None:
    with Server(app, port=0) as server:
        here = visit(server.url)
        here.open("echo")
        here.field("value").fill(json.dumps(value))
        here.run()
        expect(here.page.locator(f".conduit-form-answer {shown}").first).to_be_visible()
        if shown == ".conduit-form-bars":
            assert here.page.locator(".conduit-form-bars th").all_inner_texts() == ["up", "down"]


def test_a_closed_object_of_the_tree_shows_its_first_values(app: App, visit: Open) -> None:
    source = {"id": "a.md#1", "span": [1, 2], "score": 0.5, "text": "x" * 500, "line": 3}
    with Server(app, port=0) as server:
        here = visit(server.url, width=480)
        here.open("echo")
        here.field("value").fill(json.dumps({"sources": [source, {"only": {"a": 1}}]}))
        here.run()
        summaries = here.page.locator(".conduit-form-tree summary").all_inner_texts()
        assert summaries[0] == "sources: 2 items"
        text = "x" * 60
        assert summaries[1] == f'0: {{id: "a.md#1", score: 0.5, text: "{text}", + 2 keys}}'
        assert summaries[2] == "1: {1 key}"
        width = "document.documentElement.scrollWidth <= innerWidth"
        assert here.page.evaluate(width)  # the line is clipped
        here.page.locator(".conduit-form-tree summary").nth(1).click()
        answer = here.page.locator(".conduit-form-answer")
        expect(answer).to_contain_text("line: 3", use_inner_text=True)


def test_a_stream_runs_live_and_stops(app: App, visit: Open) -> None:
    go, ended = threading.Event(), threading.Event()

    @app.ml_stream("/write")
    def write(prompt: str) -> Iterator[Any]:
        try:
            yield {"chunk": f"{prompt} and "}
            assert go.wait(20)
            yield {"chunk": "more"}
            while True:
                yield {"chunk": "."}
                sleep(0.01)
        finally:
            ended.set()

    with Server(app, port=0) as server:
        here = visit(server.url)
        here.open("write")
        here.field("prompt").fill("this")
        here.field("prompt").press("Control+Enter")
        stream = here.page.locator(".conduit-form-stream")
        expect(stream).to_have_text("this and ", use_inner_text=False)
        expect(here.page.locator(".conduit-form-status")).to_contain_text("● running · 1 chunk")
        go.set()
        expect(stream).to_contain_text("this and more.")
        here.page.locator(".conduit-form-run").press("Escape")
        expect(here.page.locator(".conduit-form-status")).to_contain_text("■ cancelled")
        assert ended.wait(20)


def test_the_code_of_a_call_follows_the_form(app: App, visit: Open) -> None:
    with Server(app, port=0) as server:
        here = visit(server.url)
        here.field("text").fill("it's")
        source = here.page.locator(".conduit-form-source")
        body = {"text": "it's", "channel": "mail", "urgency": 3}
        python = source.inner_text()
        compile(python, "call", "exec")
        assert json.dumps(body) in python
        here.page.get_by_role("tab", name="curl").click()
        assert "-d '" + json.dumps(body, separators=(",", ":")).replace("'", "'\\''") in (
            source.inner_text()
        )
        here.page.get_by_role("tab", name="JavaScript").click()
        assert f'await fetch("{server.url}/triage"' in source.inner_text()


def test_recorded_calls_fill_the_form(tmp_path: Path, visit: Open) -> None:
    lab = Lab("desk", root=tmp_path)

    @lab.get("/near/{shelf}")
    def near(shelf: str, text: str, top_k: int = 3) -> list[str]:
        return [shelf, text][:top_k]

    near("left", "pan", top_k=1)
    with Server(lab, port=0) as server:
        here = visit(server.url)
        chip = here.page.locator(".conduit-form-chip")
        expect(chip).to_have_text("left · pan · 1")
        chip.click()
        assert here.run() == '["left"]'


def test_hostile_names_docs_and_answers_are_text(tmp_path: Path, visit: Open) -> None:
    lab = Lab(HOSTILE, root=tmp_path)

    def ask(value: str = HOSTILE, kind: Any = None) -> Any:
        return {HOSTILE: value, "rows": [{HOSTILE: value}]}

    ask.__doc__ = f"{HOSTILE}\n\n{HOSTILE}"
    ask.__annotations__["kind"] = Literal[HOSTILE, "b"]
    lab.post("/ask")(ask)

    def fail(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        from conduit_lab.core.errors import InputError

        raise InputError(HOSTILE)

    lab.post("/fail")(fail)
    lab.ml_stream("/tell")(lambda text=HOSTILE: iter([HOSTILE, {HOSTILE: HOSTILE}]))
    lab.endpoints["/ask"](HOSTILE, "b")
    with Server(lab, port=0) as server:
        here = visit(server.url)
        here.page.locator(".conduit-form-chip").click()
        assert HOSTILE in here.run()
        here.open("fail")
        here.field("value").fill("1")
        assert HOSTILE in here.run(re.compile("✕ failed"))
        here.open("lambda")
        assert HOSTILE in here.run()
        assert here.page.evaluate("window.hit") is None
        assert here.page.locator("#page img, #page script").count() == 0


@pytest.mark.parametrize("width", [360, 480, 900, 1400])
def test_the_page_fits_its_width(app: App, visit: Open, width: int) -> None:
    with Server(app, port=0) as server:
        here = visit(server.url, width)
        for name in ("triage", "search", "total", "scan", "echo"):
            here.open(name)
            assert here.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture
def guarded(app: App) -> Iterator[tuple[str, str]]:
    """Serve the app with a key; give its address and the key."""
    secret, key = new_key("desk")
    app.keys = Keys([key])
    with Server(app, port=0) as server:
        yield server.url, secret


def test_a_key_is_asked_for_and_kept_in_memory_alone(guarded: tuple[str, str], visit: Open) -> None:
    url, secret = guarded
    here = visit(url)
    key = here.page.locator("input[type=password]")
    key.fill("wrong")
    key.press("Enter")
    expect(here.page.locator(".page-note")).to_contain_text("refused this key")
    key.fill(secret)
    key.press("Enter")
    here.open("echo")
    here.field("value").fill("[1]")
    assert here.run() == "[1]"
    assert "CONDUIT_LAB_KEY" in here.page.locator(".conduit-form-source").inner_text()
    assert secret not in here.page.locator(".conduit-form-source").inner_text()
    stored = "JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])"
    assert here.page.evaluate(stored) == '[{},{},""]'
    here.page.reload()
    expect(here.page.locator(".page-note")).to_contain_text("needs a key")
