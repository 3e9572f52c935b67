"""The hub: one channel for every live view, one message per tick."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from conduit_lab.notebook import hub as hub_module
from conduit_lab.notebook.hub import (
    MAX_ENDED,
    MAX_ENDED_BYTES,
    Hub,
    joined_script,
    joined_style,
    rooms,
)

WAIT = 10  # seconds that nothing here should need


class Wire:
    """The channel's two ends: messages to the page, and the function for a page's messages."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.hub = Hub(self._connect, period=0.001)

    def _connect(self, receive: Any) -> Any:
        self.receive = receive
        return self.sent.append


class Ticked:
    """A view that sends one message per tick, until it has sent `left` of them."""

    running = True

    def __init__(self, hub: Hub, key: str, left: int = 1) -> None:
        self.hub, self.key, self.left = hub, key, left
        self.opens: list[str] = []
        self.received: list[dict[str, Any]] = []
        self.watched: list[bool] = []
        self.done = threading.Event()

    def tick(self, watched: bool) -> bool:
        self.watched.append(watched)
        self.hub.send(self.key, {"left": self.left})
        self.left -= 1
        if self.left == 0:
            self.done.set()
        return self.left > 0

    def opened(self) -> None:
        self.opens.append(self.key)

    def receive(self, message: dict[str, Any]) -> None:
        self.received.append(message)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    for view in wire.hub.views:
        wire.hub.remove(view)
    wait_until_idle(wire.hub)


def wait_until_idle(hub: Hub) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if not hub.alive:
            return
        pause.wait(WAIT / 1000)
    pytest.fail("the hub's thread still runs")


def test_the_thread_runs_only_while_there_are_views(wire: Wire) -> None:
    assert not wire.hub.alive
    for _ in range(2):  # it starts again after it ended
        view = Ticked(wire.hub, "a", left=3)
        wire.hub.add(view)
        assert view.done.wait(WAIT)
        wait_until_idle(wire.hub)


def test_one_message_per_tick_carries_all_views(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [Ticked(wire.hub, key, left=3) for key in "abcd"]
    wire.hub._views = {view.key: view for view in views[:3]}
    wire.hub.add(views[3])
    wait_until_idle(wire.hub)
    assert [list(message["views"]) for message in wire.sent] == [list("abcd")] * 3
    assert wire.sent[0]["views"]["b"] == [{"left": 3}]


def test_a_message_outside_of_a_tick_is_sent_at_once(wire: Wire) -> None:
    wire.hub._sender = wire.sent.append
    wire.hub.send("explorer-1", {"hits": 3})
    assert wire.sent == [{"views": {"explorer-1": [{"hits": 3}]}}]


def test_a_page_that_opens_is_sent_everything_again_and_the_ends_of_its_outputs(wire: Wire) -> None:
    view = Ticked(wire.hub, "a", left=10**9)
    wire.hub.add(view)
    wire.hub.end("stream-1", {"text/html": "one"})
    wire.hub.end("stream-2", {"text/html": "two"})
    wire.receive({"page": "p", "open": ["stream-2", "stream-7"]})
    assert view.opens == ["a"]
    ends = [sent["views"] for sent in wire.sent if "a" not in sent["views"]]
    assert ends == [
        {"stream-1": [{"end": {"text/html": "one"}}]},
        {"stream-2": [{"end": {"text/html": "two"}}]},
        {"stream-2": [{"end": {"text/html": "two"}}]},  # of the page's notebook alone
    ]


def test_views_know_whether_a_page_watches(wire: Wire) -> None:
    view = Ticked(wire.hub, "a")
    wire.hub.add(view)
    wait_until_idle(wire.hub)
    wire.receive({"page": "p", "open": []})
    later = Ticked(wire.hub, "b")
    wire.hub.add(later)
    wait_until_idle(wire.hub)
    assert (view.watched, later.watched) == ([False], [True])


def test_a_message_reaches_the_view_that_it_names(wire: Wire) -> None:
    view = Ticked(wire.hub, "a", left=10**9)
    wire.hub.add(view)
    wire.receive({"to": "a", "message": {"stop": True}})
    wire.receive({"to": "gone", "message": {"stop": True}})
    assert view.received == [{"stop": True}]


@pytest.mark.parametrize(
    ("count", "size"), [(MAX_ENDED + 5, 10), (6, MAX_ENDED_BYTES // 4)], ids=["count", "bytes"]
)
def test_kept_ends_are_bounded(wire: Wire, count: int, size: int) -> None:
    for number in range(count):
        wire.hub.end(f"stream-{number}", {"text/html": "x" * size})
    assert len(wire.hub._ended) <= MAX_ENDED
    assert len(wire.hub._ended) * size <= MAX_ENDED_BYTES
    assert f"stream-{count - 1}" in wire.hub._ended


def test_a_view_that_raises_does_not_stop_the_others(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad(Ticked):
        def tick(self, watched: bool) -> bool:
            raise ValueError("a repr that raises")

    good = Ticked(wire.hub, "good")
    wire.hub._views = {"bad": Bad(wire.hub, "bad")}
    wire.hub.add(good)
    wait_until_idle(wire.hub)
    assert good.done.is_set()
    assert "a repr that raises" in caplog.text


def test_idle_views_are_looked_at_twice_a_second(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Idle(Ticked):
        running = False

    view = Idle(wire.hub, "a", left=3)
    monkeypatch.setattr(wire.hub._wakeup, "wait", waits.append)
    wire.hub.add(view)
    wait_until_idle(wire.hub)
    assert waits == [hub_module.IDLE_SECONDS] * 3


def test_the_scripts_are_joined_without_imports() -> None:
    script = joined_script()
    assert not re.search(r"^(import|export (?!default \{$))", script, re.MULTILINE)
    for room in rooms():
        assert f"VIEWS[{room.name!r}] = " in script
    assert ".conduit-view" in joined_style()


@pytest.mark.parametrize("room", rooms(), ids=lambda room: room.name)
def test_a_views_script_is_small(room: Any) -> None:
    assert sum(file.stat().st_size for file in room.glob("*.js")) <= 30 * 1024


def test_a_page_is_answered_while_a_cell_blocks() -> None:
    kernel_7, kernel_6 = SimpleNamespace(_reply_subshell_for=1), SimpleNamespace()
    hub_module._answer_while_busy(kernel_7)
    hub_module._answer_while_busy(kernel_6)
    assert (vars(kernel_7), vars(kernel_6)) == ({"_reply_subshell_for": None}, {})
