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

from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook import mount
from conduit_lab.notebook.hub import Hub
from conduit_lab.notebook.views import register
from conduit_lab.notebook.views.stream import STREAM

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


@pytest.fixture(autouse=True)
def _own_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount, "hub", Hub(lambda receive: lambda message: None))


def test_a_live_output_becomes_static_when_the_stream_ends(told: Told) -> None:
    publisher = Publisher()
    mount.show(told.stream, STREAM, shell_of(publisher, watched=True))
    assert set(publisher.only) == {"text/html", "text/plain"}
    assert "data-conduit-view" in publisher.only["text/html"]
    told.end()
    assert publisher.published.wait(WAIT)
    assert publisher.only == told.stream._repr_mimebundle_()
    assert "&lt;script&gt;" in publisher.only["text/html"]


def test_a_shown_stream_is_stopped_when_its_cell_runs_again(told: Told) -> None:
    mount.show(told.stream, STREAM, shell_of(Publisher(), watched=True))
    (shown,) = mount.hub.views
    shown.release()  # type: ignore[attr-defined]
    assert told.stream.state == "cancelled"
    assert told.stream.readers == 0
    assert mount.hub.views == []


def test_an_ended_stream_is_static_at_once(told: Told) -> None:
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
    shell.events = EventManager(shell, {"pre_run_cell": None, "post_run_cell": None})
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
