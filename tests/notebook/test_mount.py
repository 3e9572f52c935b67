"""Mounts: any value with a live form is opened, updated, frozen and released in the same way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from conduit_lab.notebook import mount
from conduit_lab.notebook.hub import Hub
from conduit_lab.notebook.mount import LiveForm, Mount, Send


class Counter:
    """A value that counts up to its end."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = False
        self.released = False

    def _repr_mimebundle_(self) -> dict[str, Any]:
        return {"text/plain": f"{self.count}", "text/html": f"<b>{self.count}</b>"}

    def release(self) -> None:
        self.released = True


class CounterView:
    def __init__(self, counter: Counter, send: Send) -> None:
        self.counter, self.send = counter, send
        self.calls: list[str] = []
        VIEWS.append(self)

    def opened(self) -> None:
        self.calls.append("opened")

    def flush(self) -> None:
        self.send({"count": self.counter.count})

    def receive(self, message: dict[str, Any]) -> None:
        self.counter.count += message["add"]

    def close(self) -> None:
        self.calls.append("close")


VIEWS: list[CounterView] = []
FORM: LiveForm[Counter] = LiveForm(
    "counter",
    CounterView,
    ended=lambda counter: counter.ended,
    running=lambda counter: not counter.ended,
    release=Counter.release,
)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The messages of a hub of the test's own."""
    VIEWS.clear()
    messages: list[Any] = []
    hub = Hub(lambda receive: messages.append, period=0.001)
    monkeypatch.setattr(mount, "hub", hub)
    yield messages
    for view in hub.views:
        hub.remove(view)
    for _ in range(1000):
        if not hub.alive:
            return
        threading.Event().wait(0.01)
    pytest.fail("the hub's thread still runs")


class Publisher:
    """Replaces the kernel's display publisher."""

    def __init__(self) -> None:
        self.published: list[tuple[dict[str, Any], bool]] = []
        self.changed = threading.Condition()

    def publish(self, data: Any, metadata: Any, *, transient: Any, update: bool = False) -> None:
        assert set(transient) == {"display_id"}
        with self.changed:
            self.published.append((data, update))
            self.changed.notify()

    def wait_for(self, condition: Callable[[list[Any]], Any]) -> None:
        """Wait until a condition on the published bundles holds."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self.published), 20)


def shell(publisher: Publisher, *, watched: bool, cell: str = "cell 1", **more: Any) -> Any:
    request = {"content": {"allow_stdin": watched}, "metadata": {"cellId": cell}}
    return SimpleNamespace(
        display_pub=publisher, kernel=SimpleNamespace(get_parent=lambda: request), **more
    )


def test_a_value_that_ends_while_it_is_shown_is_frozen(sent: list[Any]) -> None:
    class Quick(Counter):
        def _repr_mimebundle_(self) -> dict[str, Any]:
            bundle = super()._repr_mimebundle_()
            self.count, self.ended = 1, True
            return bundle

    publisher = Publisher()
    mount.show(Quick(), FORM, shell(publisher, watched=True))
    publisher.wait_for(lambda published: len(published) == 2)
    (first, _), (last, update) = publisher.published
    assert "data-conduit-view" in first["text/html"] and "<b>0</b>" in first["text/html"]
    assert update and last["text/html"] == "<b>1</b>"


def test_a_live_output_is_static_html_with_the_views_key(sent: list[Any]) -> None:
    publisher = Publisher()
    mount.show(Counter(), FORM, shell(publisher, watched=True))
    ((data, update),) = publisher.published
    (view,) = mount.hub.views
    assert data == {
        "text/plain": "0",
        "text/html": f'<div data-conduit-view="{view.key}"><b>0</b></div>',
    }
    assert not update
    assert view.key.startswith("counter-")


def test_a_page_is_sent_updates_and_the_final_form(sent: list[Any]) -> None:
    counter, publisher = Counter(), Publisher()
    mount.show(counter, FORM, shell(publisher, watched=True))
    (view,) = mount.hub.views
    mount.hub.receive({"page": "p", "open": []})
    mount.hub.receive({"to": view.key, "message": {"add": 3}})
    counter.ended = True
    publisher.wait_for(lambda published: len(published) == 2)
    final = {"text/plain": "3", "text/html": "<b>3</b>"}
    assert publisher.published[-1] == (final, True)
    end = {"views": {view.key: [{"end": final}]}}
    for _ in range(1000):
        if sent and sent[-1] == end:
            break
        threading.Event().wait(0.01)
    assert sent[-1] == end
    assert VIEWS[0].calls == ["opened", "close"]


def test_a_front_end_whose_page_does_not_answer_gets_the_static_form_again(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mount, "REPEAT_SECONDS", 0.0)
    counter, publisher = Counter(), Publisher()
    shown = Mount(counter, FORM, publisher)
    shown.show()
    shown.open(Hub(lambda receive: sent.append))
    try:
        for count in (0, 0, 1, 1):
            counter.count = count
            assert shown.tick(watched=False)
    finally:
        shown.release()
    place = f'<div data-conduit-view="{shown.key}"><b>{{}}</b></div>'
    assert [data["text/html"] for data, _ in publisher.published] == [
        place.format(0),
        place.format(0),
        place.format(1),
    ]
    assert sent == []


def test_a_view_ends_when_its_cell_runs_again_or_is_deleted(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = [Counter() for _ in range(3)]
    for number, counter in enumerate(counters):
        mount.show(counter, FORM, shell(Publisher(), watched=True, cell=f"cell {number}"))
    running = {"metadata": {"deletedCells": ["cell 2"]}}
    kernel = SimpleNamespace(get_parent=lambda: running)
    monkeypatch.setattr(mount, "_kernel", lambda: kernel)
    mount.release_outputs(SimpleNamespace(cell_id="cell 0"))
    assert [counter.released for counter in counters] == [True, False, True]
    assert [view.calls for view in VIEWS] == [["close"], [], ["close"]]
    assert [view.value for view in mount.hub.views] == [counters[1]]  # type: ignore[attr-defined]


def test_a_registered_type_is_settled_after_the_cell_in_which_it_has_ended() -> None:
    shown: dict[type, Any] = {}
    events: dict[str, Any] = {}
    publisher = Publisher()
    formatter = SimpleNamespace(for_type=shown.__setitem__)
    unwatched = shell(
        publisher,
        watched=False,
        display_formatter=SimpleNamespace(ipython_display_formatter=formatter),
        events=SimpleNamespace(register=events.__setitem__),
    )
    mount.register_live(unwatched, Counter, FORM)
    assert set(events) == {"pre_run_cell", "post_run_cell"}
    counter = Counter()
    shown[Counter](counter)
    events["post_run_cell"](None)
    counter.count, counter.ended = 3, True
    events["post_run_cell"](None)
    events["post_run_cell"](None)
    (first, _), (final, updated) = publisher.published
    assert "<b>0</b>" in first["text/html"]
    assert (final, updated) == ({"text/plain": "3", "text/html": "<b>3</b>"}, True)


def test_lone_surrogates_are_replaced_before_they_are_published() -> None:
    class Odd(Counter):
        ended = True

        def __init__(self) -> None:
            pass

        def _repr_mimebundle_(self) -> dict[str, Any]:
            return {"text/plain": "a\ud800b", "text/html": "\udfff"}

    publisher = Publisher()
    Mount(Odd(), FORM, publisher).show()
    assert publisher.published == [({"text/plain": "a?b", "text/html": "?"}, False)]
