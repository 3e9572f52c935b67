"""The output of a cell that shows a stream, without a front end."""

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

from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook import mount
from conduit_lab.notebook.mount import LiveWidget, Mount
from conduit_lab.notebook.views import register
from conduit_lab.notebook.views.stream import STREAM

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WAIT = 10  # seconds that nothing here should need
TEXT = "<script>alert(1)</script>"


class Told:
    """A stream that tells `TEXT` and then waits for `end`."""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self.stream = Stream(self._flow(), name="told")
        next(self.stream.reader())

    def _flow(self) -> Iterator[str]:
        yield TEXT
        self._ending.wait(WAIT)

    def end(self) -> None:
        """End the stream."""
        self._ending.set()
        self.stream.wait(WAIT)


class Publisher:
    """Replaces the kernel's display publisher and, like a page, keeps outputs by display id."""

    def __init__(self) -> None:
        self.outputs: dict[str, dict[str, Any]] = {}
        self.published = threading.Event()

    def publish(
        self,
        data: dict[str, Any],
        metadata: Any,
        *,
        transient: dict[str, str],
        update: bool = False,
    ) -> None:
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
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.end()


def shell_of(publisher: Publisher, *, watched: bool) -> Any:
    request = {"content": {"allow_stdin": watched}}
    return SimpleNamespace(
        display_pub=publisher, kernel=SimpleNamespace(get_parent=lambda: request)
    )


def test_a_live_output_becomes_static_when_the_stream_ends(told: Told) -> None:
    publisher = Publisher()
    mount.show(told.stream, STREAM, shell_of(publisher, watched=True))
    assert set(publisher.only) == {WIDGET_VIEW, "text/plain"}
    told.end()
    assert publisher.published.wait(WAIT)
    assert publisher.only == told.stream._repr_mimebundle_()
    assert "&lt;script&gt;" in publisher.only["text/html"]


def test_an_ended_view_leaves_no_model_behind(told: Told) -> None:
    publisher = Publisher()
    before = set(ipywidget._instances)
    output = Mount(told.stream, STREAM, publisher)
    output.show_live()
    assert len(set(ipywidget._instances) - before) == 2  # the view's and its layout's
    told.end()
    assert output.tick() is False
    assert set(ipywidget._instances) == before
    assert told.stream.readers == 0


def test_a_reloaded_page_keeps_its_view_with_the_whole_text(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(LiveWidget, "send", lambda self, content: sent.append(content))
    output = Mount(told.stream, STREAM, Publisher())
    output.show_live()
    assert output._widget is not None and output._view is not None
    for _ in range(2):
        output._view.receive({"open": True})
    told.end()
    output.tick()
    assert sent[-1]["text"] == TEXT
    assert sent[-1]["facts"][0] == "✓ done"
    assert output._widget.comm is not None
    output._widget.layout.close()
    output._widget.close()


def test_an_ended_stream_is_shown_without_a_widget(told: Told) -> None:
    told.end()
    publisher = Publisher()
    mount.show(told.stream, STREAM, shell_of(publisher, watched=True))
    assert publisher.only == told.stream._repr_mimebundle_()


def test_an_unwatched_output_is_static_and_settles_when_a_cell_ends(told: Told) -> None:
    publisher = Publisher()
    mount.show(told.stream, STREAM, shell_of(publisher, watched=False))
    assert set(publisher.only) == {"text/html", "text/plain"}
    mount.settle()
    assert not publisher.published.is_set()
    told.end()
    mount.settle()
    assert publisher.only == told.stream._repr_mimebundle_()


def test_register_does_nothing_outside_a_kernel() -> None:
    register()


def test_register_is_idempotent() -> None:
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    shell.events = EventManager(shell, {"post_run_cell": None})
    for _ in range(2):
        mount.register_live(shell, Stream, STREAM)
    assert shell.events.callbacks["post_run_cell"] == [mount.settle]
    assert Stream in shell.display_formatter.ipython_display_formatter.type_printers


def test_importing_the_package_imports_no_notebook_library() -> None:
    code = (
        "import sys, conduit_lab, conduit_lab.notebook.views as w; w.register(); "
        "sys.exit(any(name in sys.modules for name in ('IPython', 'ipywidgets', 'anywidget')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
