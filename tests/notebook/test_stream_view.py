"""The messages of a live view, and what a cell shows, without a front end."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.events import EventManager
from IPython.core.formatters import DisplayFormatter
from ipywidgets.widgets import widget as ipywidget

from conduit_lab.core.stream import Stream
from conduit_lab.notebook.widgets import cell, register
from conduit_lab.notebook.widgets import stream as view_module
from conduit_lab.notebook.widgets.cell import StreamCell
from conduit_lab.notebook.widgets.flusher import Flusher
from conduit_lab.notebook.widgets.stream import FIRST_REPEAT, MESSAGE_CHARACTERS, StreamView

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WAIT = 10  # seconds that nothing here should need

Message = dict[str, Any]


class Tap:
    """A source whose chunks come when the test says so."""

    def __init__(self) -> None:
        self._chunks: list[Any] = []
        self._changed = threading.Condition()
        self._open = True
        self.stream: Stream[Any] = Stream(self._flow(), name="tap")

    def _flow(self) -> Iterator[Any]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks or not self._open)
                if not self._chunks:
                    return
                chunk = self._chunks.pop(0)
            yield chunk

    def pour(self, *chunks: Any) -> None:
        """Make the stream produce `chunks`; returns when it has."""
        wanted = self.stream.count + len(chunks)
        with self._changed:
            self._chunks += chunks
            self._changed.notify()
        reader = self.stream.reader(wanted - 1)
        next(reader)
        reader.close()

    def shut(self) -> None:
        """End the stream."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self.stream.wait(WAIT)


class Clock:
    """The view's clock, turned by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Publisher:
    """Takes the place of the kernel's display publisher and, like a page, keeps outputs by display id."""

    def __init__(self) -> None:
        self.outputs: dict[str, dict[str, Any]] = {}
        self.published = threading.Event()

    def publish(self, data: dict[str, Any], metadata: Any, *, transient: dict[str, str], update: bool = False) -> None:
        display_id = transient["display_id"]
        assert (display_id in self.outputs) is update
        self.outputs[display_id] = data
        if update:
            self.published.set()

    @property
    def only(self) -> dict[str, Any]:
        """The only output."""
        (output,) = self.outputs.values()
        return output


@pytest.fixture
def tap() -> Iterator[Tap]:
    tap = Tap()
    yield tap
    tap.shut()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(view_module, "monotonic", clock)
    return clock


def shell_of(publisher: Publisher, *, watched: bool) -> Any:
    request = {"content": {"allow_stdin": watched}}
    return SimpleNamespace(display_pub=publisher, kernel=SimpleNamespace(get_parent=lambda: request))


# The protocol


def test_deltas_join_to_the_text(tap: Tap) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    for chunk in ("one ", "two 😀 ", "three"):
        tap.pour(chunk)
        view.flush()
    assert [message["text"] for message in sent] == ["one ", "two 😀 ", "three"]
    assert [message["seq"] for message in sent] == [0, 1, 2]
    assert [message["offset"] for message in sent] == [0, 4, 10]  # code points
    assert all("id" not in message for message in sent)  # ipykernel 7.4 takes that key for its own


def test_chunks_are_coalesced_and_silence_sends_nothing(tap: Tap, clock: Clock) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour(*("x" for _ in range(1000)))
    for _ in range(5):
        view.flush()
    assert [message["text"] for message in sent] == ["x" * 1000]
    clock.now += 1
    view.receive({"open": True})
    view.flush()
    assert sent[-1]["facts"][:2] == ["● running", "1\u2009000 chunks"]


def test_a_page_gets_a_replay_on_request(tap: Tap, clock: Clock) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour("one ")
    view.flush()
    tap.pour("two ")
    view.receive({"replay": True})
    view.flush()
    tap.pour("three")
    view.flush()
    assert [(message["seq"], message["offset"], message["text"]) for message in sent] == [
        (0, 0, "one "),
        (1, 0, "one two "),
        (2, 8, "three"),
    ]


def test_an_unheard_page_gets_replays_at_doubling_intervals(tap: Tap, clock: Clock) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour("text")
    for _ in range(700):
        view.flush()
        clock.now += FIRST_REPEAT / 100
    assert [message["text"] for message in sent if message["text"]] == ["text"] * 3  # at 0, 0.2 and 0.6 s of 1.4 s
    view.receive({"open": True})
    for _ in range(10):
        view.flush()
        clock.now += 10
    assert [message["text"] for message in sent if message["text"]] == ["text"] * 4


def test_a_view_that_fell_behind_starts_again_with_what_is_kept() -> None:
    stream = Stream((f"chunk {number} " for number in range(1000)), name="long", keep=8_000)
    sent: list[Message] = []
    view = StreamView(stream, sent.append)
    stream.wait(WAIT)
    view.flush()
    assert sent[0]["dropped"] > 0
    assert sent[0]["offset"] == 0
    assert sent[0]["text"] == stream.text
    assert sent[0]["text"].startswith(f"chunk {sent[0]['dropped']} ")


def test_a_message_is_bounded_and_the_rest_follows(tap: Tap) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour(*("y" * 1000 for _ in range(100)))
    for _ in range(10):
        view.flush()
    assert max(len(message["text"]) for message in sent) < MESSAGE_CHARACTERS + 1000
    assert "".join(message["text"] for message in sent) == "y" * 100_000


def test_a_lone_surrogate_can_be_sent(tap: Tap) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour("a\ud83db")
    view.flush()
    assert sent[0]["text"] == "a?b"


def test_stop_cancels(tap: Tap) -> None:
    StreamView(tap.stream, lambda message: None).receive({"stop": True})
    assert tap.stream.state == "cancelled"


# The flusher


def test_the_flusher_runs_only_while_there_are_views() -> None:
    done = threading.Event()
    left = iter([True, True, False])

    class View:
        def tick(self) -> bool:
            more = next(left)
            if not more:
                done.set()
            return more

    flusher = Flusher(period=0.001)
    assert not flusher.running
    for _ in range(2):  # it starts again after it ended
        flusher.add(View())
        assert done.wait(WAIT)
        wait_until_idle(flusher)
        done.clear()
        left = iter([False])


def test_a_view_that_raises_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    class Bad:
        def tick(self) -> bool:
            raise ValueError("a repr that raises")

    class Good:
        def tick(self) -> bool:
            done.set()
            return False

    flusher = Flusher(period=0.001)
    flusher.add(Bad())
    wait_until_idle(flusher)
    flusher.add(Good())
    assert done.wait(WAIT)
    assert "a repr that raises" in caplog.text


def wait_until_idle(flusher: Flusher) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if not flusher.running:
            return
        pause.wait(WAIT / 1000)
    pytest.fail("the flusher still runs")


# The cell's output


def test_a_live_output_becomes_static_when_the_stream_ends(tap: Tap) -> None:
    publisher = Publisher()
    cell.show(tap.stream, shell_of(publisher, watched=True))
    assert set(publisher.only) == {WIDGET_VIEW, "text/plain"}
    tap.pour("<script>alert(1)</script>")
    tap.shut()
    assert publisher.published.wait(WAIT)
    assert publisher.only == tap.stream._repr_mimebundle_()
    assert "&lt;script&gt;" in publisher.only["text/html"]


def test_an_ended_view_leaves_no_model_behind(tap: Tap) -> None:
    publisher = Publisher()
    before = set(ipywidget._instances)
    output = StreamCell(tap.stream, publisher)
    output.show_live()
    assert len(set(ipywidget._instances) - before) == 2  # the view's and its layout's
    tap.shut()
    assert output.tick() is False
    assert set(ipywidget._instances) == before
    assert tap.stream.readers == 0


def test_an_ended_stream_is_shown_without_a_widget(tap: Tap) -> None:
    tap.shut()
    publisher = Publisher()
    cell.show(tap.stream, shell_of(publisher, watched=True))
    assert publisher.only == tap.stream._repr_mimebundle_()


def test_an_unwatched_output_is_static_and_settles_when_a_cell_ends(tap: Tap) -> None:
    publisher = Publisher()
    cell.show(tap.stream, shell_of(publisher, watched=False))
    assert set(publisher.only) == {"text/html", "text/plain"}
    cell._settle()
    assert not publisher.published.is_set()
    tap.pour("told")
    tap.shut()
    cell._settle()
    assert publisher.only == tap.stream._repr_mimebundle_()


# Registration


def test_register_does_nothing_outside_a_kernel() -> None:
    register()


def test_register_is_idempotent() -> None:
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    shell.events = EventManager(shell, {"post_run_cell": None})
    for _ in range(2):
        cell.register(shell)
    assert shell.events.callbacks["post_run_cell"] == [cell._settle]
    assert Stream in shell.display_formatter.ipython_display_formatter.type_printers


def test_importing_the_package_imports_no_notebook_library() -> None:
    code = (
        "import sys, conduit_lab, conduit_lab.notebook.widgets as w; w.register(); "
        "sys.exit(any(name in sys.modules for name in ('IPython', 'ipywidgets', 'anywidget')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
