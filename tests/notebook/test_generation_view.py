"""The messages of a generation's live view, without a page; and views that stay after the end."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from conduit_lab.core.errors import InputError
from conduit_lab.models.generation.alternatives import Alternative
from conduit_lab.models.generation.result import Token
from conduit_lab.notebook import mount
from conduit_lab.notebook.hub import Hub
from conduit_lab.notebook.mount import LiveForm, Mount
from conduit_lab.notebook.views.generation import GENERATION
from conduit_lab.notebook.views.generation import view as view_module
from conduit_lab.notebook.views.generation.view import GenerationView

WAIT = 10  # seconds that nothing here should need
Message = dict[str, Any]


@dataclass
class Tale:
    """A token stream whose tokens come when the test says so."""

    name: str = "tale"
    parent: Tale | None = None
    position: int = 0
    prompt: str = "Once"
    max_tokens: int = 20_000
    state: str = "running"
    error: Exception | None = None
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.tokens: list[Token] = [] if self.parent is None else self.parent.begin(self.position)
        self.branches: list[Tale] = []
        self.alternatives_asked: list[tuple[int, str]] = []

    def begin(self, position: int) -> list[Token]:
        return self.tokens[:position]

    def pour(self, *texts: str, logprob: float = -0.51234) -> None:
        for text in texts:
            place = len(self.tokens)
            self.tokens.append(Token(text, place, place + 100, logprob, time=0.1 + place / 50))

    @property
    def finished(self) -> bool:
        return self.state != "running"

    @property
    def facts(self) -> list[str]:
        return [f"● {self.state}", f"{len(self.tokens)} of {self.max_tokens}"]

    def cancel(self) -> None:
        self.state = "cancelled"

    def alternatives(self, position: int) -> list[Alternative]:
        self.alternatives_asked.append((position, threading.current_thread().name))
        return [
            Alternative(100 + position, " a", 0.612345, 0.9, None),
            Alternative(7, "\ud800", 0.1, 0.0, "top_p"),
        ]

    def branch(self, position: int, token: int | str) -> Tale:
        if token == "outside":
            raise InputError("the constraint allows no such text")
        branch = Tale(f"tale › {token}", self, position)
        branch.pour(str(token))
        self.branches.append(branch)
        return branch

    def _repr_mimebundle_(self) -> dict[str, Any]:
        html = "".join(map(str, self.tokens)) + f"+{len(self.branches)} {self.state}"
        return {"text/plain": html, "text/html": html}


class Sent:
    """The messages of a view, some of which come from another thread."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._changed = threading.Condition()

    def __call__(self, message: Message) -> None:
        with self._changed:
            self.messages.append(json.loads(json.dumps(message)))
            self._changed.notify_all()

    def next(self, key: str) -> Any:
        """Wait for a message with this part and return the part."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(key in sent for sent in self.messages), WAIT)
        return next(sent[key] for sent in self.messages if key in sent)

    def take(self) -> list[Message]:
        taken, self.messages = self.messages, []
        return taken


def follow(tale: Any, sent: Sent) -> GenerationView:
    """Return the view of a tale in place of a token stream."""
    return GenerationView(tale, sent)


@pytest.fixture
def sent() -> Sent:
    return Sent()


def test_tokens_come_in_batches_of_texts_and_rounded_logprobs(sent: Sent) -> None:
    tale = Tale()
    view = follow(tale, sent)
    tale.pour(" upon", " a")
    view.flush()
    tale.pour(" time", "\ud83d")
    view.flush()
    view.flush()
    first, second = sent.take()
    assert first["streams"] == [
        {"number": 0, "parent": None, "position": 0, "common": 0, "name": "tale", "prompt": "Once"}
    ]
    assert first["tokens"] == [[0, 0, [" upon", " a"], [-0.512, -0.512]]]
    assert second["tokens"] == [[0, 2, [" time", "?"], [-0.512, -0.512]]]
    assert "id" not in first and "seq" not in first


def test_ten_thousand_tokens_are_small(sent: Sent) -> None:
    tale = Tale()
    view = follow(tale, sent)
    for _ in range(400):  # 1,000 tokens/s in ticks of 25 ms
        tale.pour(*[" token"] * 25)
        view.flush()
    size = sum(len(json.dumps({"views": {"generation-0a1b2c3d": [each]}})) for each in sent.take())
    assert size < 250_000


def test_figures_come_with_the_rate_over_time_and_the_end(
    sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "monotonic", lambda: 100.0)
    tale = Tale()
    view = follow(tale, sent)
    tale.pour(*["x"] * 400)
    view.flush()
    (told,) = sent.take()[0]["facts"]
    assert told["facts"] == ["● running", "400 of 20000"]
    assert len(told["rates"]) == 36
    assert all(40 < rate < 60 for rate in told["rates"])
    tale.pour("x")
    view.flush()
    assert "facts" not in sent.take()[0]  # 0.25 s have not passed
    tale.state, tale.error = "failed", ValueError("no \ud800 more")
    view.flush()
    (told,) = sent.take()[0]["facts"]
    assert told["facts"][0] == "● failed"
    assert told["error"] == "✕ ValueError: no ? more"
    view.flush()
    assert sent.take() == []


def test_branches_are_found_and_numbered_after_their_parents(sent: Sent) -> None:
    tale = Tale()
    view = follow(tale, sent)
    tale.pour("a", "b", "c")
    other = tale.branch(2, "x").branch(2, "y")
    view.flush()
    tale.branch(1, "z")
    view.flush()
    first, second = sent.take()
    numbers = [(told["number"], told["parent"], told["position"]) for told in first["streams"]]
    assert numbers == [(0, None, 0), (1, 0, 2), (2, 1, 2)]
    assert first["tokens"][1:] == [[1, 0, ["x"], [-0.512]], [2, 0, ["y"], [-0.512]]]
    assert other.parent is tale.branches[0]
    assert [told["number"] for told in second["streams"]] == [3]


def test_a_branch_shown_by_itself_has_all_its_tokens(sent: Sent) -> None:
    tale = Tale()
    tale.pour("a", "b", "c")
    follow(tale.branch(2, "x"), sent).flush()
    (message,) = sent.take()
    assert message["streams"][0]["common"] == 2
    assert message["tokens"] == [[0, 0, ["a", "b", "x"], [-0.512] * 3]]


def test_a_page_that_opens_gets_everything_again_as_it_was_left(sent: Sent) -> None:
    tale = Tale()
    view = follow(tale, sent)
    tale.pour("a", "b")
    tale.branch(1, "x")
    tale.state = "done"
    view.flush()
    (first,) = sent.take()
    look = {"tinted": True, "shown": [0], "open": None}
    view.receive({"look": look})
    for ask in (view.opened, lambda: view.receive({"replay": True})):
        ask()
        view.flush()
        assert sent.take() == [first | {"look": look}]


def test_a_flush_is_bounded_and_the_rest_follows(
    sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "MAX_VIEW_TOKENS", 10)
    tale = Tale(state="done")
    tale.pour(*"abcdefghijklm")
    view = follow(tale, sent)
    for _ in range(3):
        view.flush()
    batches = [message["tokens"][0] for message in sent.take()]
    assert [(offset, len(texts)) for _, offset, texts, _ in batches] == [(0, 10), (10, 3)]


def test_alternatives_are_looked_up_on_a_thread_of_their_own(sent: Sent) -> None:
    tale = Tale()
    tale.pour("a", "b")
    follow(tale, sent).receive({"alternatives": [0, 1]})
    told = sent.next("alternatives")
    assert told == {
        "number": 0,
        "index": 1,
        "chosen": 101,
        "rows": [[101, " a", 0.6123, 0.9, None], [7, "?", 0.1, 0.0, "top_p"]],
    }
    ((_, thread),) = tale.alternatives_asked
    assert thread != threading.current_thread().name


def test_a_branch_is_made_by_id_or_by_text_and_shown(sent: Sent) -> None:
    tale = Tale()
    tale.pour("a", "b")
    view = follow(tale, sent)
    for number, token in enumerate((7, " typed"), 1):
        view.receive({"branch": [0, 1, token]})
        assert sent.next("show") == number
        sent.take()
    assert [(branch.position, branch.name) for branch in tale.branches] == [
        (1, "tale › 7"),
        (1, "tale ›  typed"),
    ]


def test_the_same_alternative_is_not_branched_twice(sent: Sent) -> None:
    tale = Tale()
    tale.pour("a", "b")
    (there,) = [tale.branch(1, "x")]
    view = follow(tale, sent)
    view.receive({"branch": [0, 1, there.tokens[1].id]})
    assert sent.next("show") == 1
    assert tale.branches == [there]


def test_a_refused_branch_is_a_sentence_in_the_page(sent: Sent) -> None:
    tale = Tale()
    tale.pour("a")
    follow(tale, sent).receive({"branch": [0, 0, "outside"]})
    assert sent.next("problem") == {
        "number": 0,
        "index": 0,
        "sentence": "the constraint allows no such text",
    }


def test_stop_cancels_one_or_all(sent: Sent) -> None:
    tale = Tale()
    tale.pour("a")
    first, second = tale.branch(0, "x"), tale.branch(0, "y")
    view = follow(tale, sent)
    view.receive({"stop": 1})
    assert [each.state for each in (tale, first, second)] == ["running", "cancelled", "running"]
    view.receive({"stop": "all"})
    assert tale.state == second.state == "cancelled"


# After the end, in a mount


class Publisher:
    def __init__(self) -> None:
        self.published: list[str] = []

    def publish(self, data: Any, metadata: Any, *, transient: Any, update: bool = False) -> None:
        self.published.append(data["text/html"])


FORM: LiveForm[Any] = LiveForm(
    "generation", GenerationView, GENERATION.ended, GENERATION.running, lasting=2
)


def opened(tale: Tale, messages: list[Any], hub: Hub | None = None) -> Mount[Any]:
    """Return a mount of a view that stays, whose hub is ticked by hand."""
    shown = Mount(tale, FORM, Publisher())
    shown.show(lasting=True)
    held: Any = hub or SimpleNamespace(add=lambda view: None, views=[])
    held.send = lambda key, message: messages.append(message)
    held.refresh = lambda key, bundle: messages.append({"static": bundle})
    shown.open(held)
    return shown


def test_an_ended_view_stays_above_a_static_form_that_is_refreshed() -> None:
    tale = Tale()
    messages: list[Any] = []
    shown = opened(tale, messages)
    tale.pour("a")
    assert shown.tick(watched=True)
    assert [message for message in messages if "static" in message] == []
    tale.state = "done"
    for _ in range(3):
        assert shown.tick(watched=True)
    place = f'<div data-conduit-view="{shown.key}">{{}}</div>'
    ended = [message["static"]["text/html"] for message in messages if "static" in message]
    assert ended == [place.format("a+0 done")]
    branch = tale.branch(0, "x")
    shown.tick(watched=True)
    branch.state = "done"
    shown.tick(watched=True)
    assert messages[-1]["static"]["text/html"] == place.format("a+1 done")
    shown.opened()  # a page that was loaded again has the notebook as it was saved
    shown.tick(watched=True)
    assert messages[-1]["static"]["text/html"] == place.format("a+1 done")


def test_only_the_newest_ended_views_stay() -> None:
    tales = [Tale(state="done") for _ in range(3)]
    messages: list[Any] = []
    hub: Any = SimpleNamespace(views=[], end=lambda key, bundle: ended.append(key))
    hub.add = hub.views.append
    ended: list[str] = []
    shown = [opened(tale, messages, hub) for tale in tales]
    assert [each.tick(watched=True) for each in shown] == [True, True, True]
    assert [each.tick(watched=True) for each in shown] == [False, True, True]
    assert ended == [shown[0].key]


def test_an_ended_stream_is_shown_live_again_where_a_page_watches() -> None:
    tale = Tale(state="done")
    for watched in (True, False):
        publisher = Publisher()
        request = {"content": {"allow_stdin": watched}}
        kernel = SimpleNamespace(get_parent=lambda request=request: request)
        mount.show(tale, FORM, SimpleNamespace(display_pub=publisher, kernel=kernel))
        (html,) = publisher.published[:1]
        assert ("data-conduit-view" in html) is watched
        for view in mount.hub.views:
            view.release()  # type: ignore[attr-defined]
