"""Mounts: any value with a live form is opened, updated, frozen and released in the same way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conduit_lab.notebook import mount
from conduit_lab.notebook.mount import LiveForm, LiveWidget, Mount, Send


class Counter:
    """A value that counts up to its end."""

    name = "counter"

    def __init__(self) -> None:
        self.count = 0
        self.ended = False

    def _repr_mimebundle_(self) -> dict[str, Any]:
        return {"text/plain": f"{self.count}", "text/html": f"<b>{self.count}</b>"}


class CounterView:
    def __init__(self, counter: Counter, send: Send) -> None:
        self.counter, self.send = counter, send
        self.pages = 0
        self.calls: list[str] = []
        VIEWS.append(self)

    def flush(self) -> None:
        self.send({"count": self.counter.count})

    def receive(self, message: dict[str, Any]) -> None:
        self.pages += bool(message.get("open"))
        self.counter.count += message.get("add", 0)

    def finish(self) -> None:
        self.calls.append("finish")

    def close(self) -> None:
        self.calls.append("close")


VIEWS: list[CounterView] = []


@pytest.fixture
def form(tmp_path: Path) -> LiveForm[Counter]:
    VIEWS.clear()
    (tmp_path / "view.js").write_text("export default { render() {} };")
    (tmp_path / "view.css").write_text("")
    return LiveForm(tmp_path, CounterView, lambda counter: counter.ended)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    messages: list[Any] = []
    monkeypatch.setattr(LiveWidget, "send", lambda self, content: messages.append(content))
    yield messages


class Publisher:
    def __init__(self) -> None:
        self.published: list[tuple[dict[str, Any], bool]] = []
        self.updated = threading.Event()

    def publish(self, data: Any, metadata: Any, *, transient: Any, update: bool = False) -> None:
        self.published.append((data, update))
        if update:
            self.updated.set()


def test_a_live_value_is_opened_updated_and_frozen(
    form: LiveForm[Counter], sent: list[Any]
) -> None:
    counter, publisher = Counter(), Publisher()
    shown = Mount(counter, form, publisher)
    shown.show_live()
    (view,) = VIEWS
    view.receive({"open": True, "add": 3})
    assert shown.tick() is True
    assert sent == [{"count": 3}]
    counter.ended = True
    assert shown.tick() is False
    assert publisher.published[-1] == (counter._repr_mimebundle_(), True)
    assert view.calls == ["close"]


def test_a_page_that_was_reloaded_keeps_its_widget(
    form: LiveForm[Counter], sent: list[Any]
) -> None:
    counter = Counter()
    shown = Mount(counter, form, Publisher())
    shown.show_live()
    (view,) = VIEWS
    view.pages = 2
    shown.freeze()
    assert view.calls == ["finish", "close"]
    assert shown._widget is not None and shown._widget.comm is not None
    shown._widget.layout.close()
    shown._widget.close()


def test_the_flusher_ticks_what_a_watching_front_end_shows(
    form: LiveForm[Counter], sent: list[Any]
) -> None:
    counter, publisher = Counter(), Publisher()
    request = {"content": {"allow_stdin": True}}
    shell = SimpleNamespace(
        display_pub=publisher, kernel=SimpleNamespace(get_parent=lambda: request)
    )
    mount.show(counter, form, shell)
    assert not publisher.updated.is_set()
    assert "application/vnd.jupyter.widget-view+json" in publisher.published[0][0]
    counter.ended = True
    assert publisher.updated.wait(20)


def test_a_registered_type_is_settled_after_the_cell_in_which_it_has_ended(
    form: LiveForm[Counter],
) -> None:
    shown: dict[type, Any] = {}
    events: dict[str, Any] = {}
    publisher = Publisher()
    shell = SimpleNamespace(
        display_formatter=SimpleNamespace(
            ipython_display_formatter=SimpleNamespace(for_type=shown.__setitem__)
        ),
        display_pub=publisher,
        events=SimpleNamespace(register=events.__setitem__),
        kernel=SimpleNamespace(get_parent=dict),
    )
    mount.register_live(shell, Counter, form)
    counter = Counter()
    shown[Counter](counter)
    events["post_run_cell"](None)
    counter.count, counter.ended = 3, True
    events["post_run_cell"](None)
    events["post_run_cell"](None)
    assert publisher.published == [
        ({"text/plain": "0", "text/html": "<b>0</b>"}, False),
        ({"text/plain": "3", "text/html": "<b>3</b>"}, True),
    ]


def test_lone_surrogates_are_replaced_before_they_are_published(form: LiveForm[Counter]) -> None:
    class Odd(Counter):
        def _repr_mimebundle_(self) -> dict[str, Any]:
            return {"text/plain": "a\ud800b", "text/html": "\udfff"}

    publisher = Publisher()
    Mount(Odd(), form, publisher).show_static()
    assert publisher.published == [({"text/plain": "a?b", "text/html": "?"}, False)]


def test_one_widget_class_per_form(form: LiveForm[Counter]) -> None:
    assert form.widget is form.widget
    assert issubclass(form.widget, LiveWidget)


def test_a_page_is_answered_while_a_cell_blocks() -> None:
    kernel_7, kernel_6 = SimpleNamespace(_reply_subshell_for=1), SimpleNamespace()
    mount._answer_while_busy(kernel_7)
    mount._answer_while_busy(kernel_6)
    assert (vars(kernel_7), vars(kernel_6)) == ({"_reply_subshell_for": None}, {})
