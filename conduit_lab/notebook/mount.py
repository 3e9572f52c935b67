"""Mount: opens, updates, freezes and releases any live view of a value in a cell's output.

Every output ends as static `text/html`, so that a saved notebook holds text/html and text/plain
only and reads the same without a kernel. Two ways lead there:

- With a watching front end (JupyterLab and others) a widget follows the value; the session's
  flusher replaces it within 25 ms of the value's end, whether or not a cell is running.
- Without one (nbclient, nbconvert, nbmake, papermill) there is never a widget. The output is static
  from the start and is replaced when a cell ends after the value has ended, because nbclient takes
  an update only from the cell that it is executing. So the saved output is the final one if that
  cell or a later one waits for the value, as `stream.result()` does; else it shows the progress at
  the time its cell was run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

import anywidget
import traitlets

from conduit_lab.notebook.flusher import Flusher

T = TypeVar("T")
Send = Callable[[dict[str, Any]], object]

_flusher = Flusher()
_unwatched: list[Mount[Any]] = []


class LiveView(Protocol):
    """The kernel's half of a live view: it sends due updates to the page and takes its messages.

    `pages` counts the pages that have opened it; a reloaded page counts again.
    """

    pages: int

    def flush(self) -> None:
        """Send due updates; called every few milliseconds by the flusher's thread."""

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message from the page, on any thread."""

    def finish(self) -> None:
        """Send the rest, once the value has ended."""

    def close(self) -> None:
        """Release the readers and buffers that the view holds."""


@dataclass(frozen=True)
class LiveForm(Generic[T]):
    """How values of one type are shown live.

    `room` is the folder of `view.js` and `view.css`, the page's half. `view` makes the kernel's
    half of a value and a function that sends one message. `ended` says whether nothing more will
    come; the output then becomes the value's own static form.
    """

    room: Path
    view: Callable[[T, Send], LiveView]
    ended: Callable[[T], bool]

    @cached_property
    def widget(self) -> type[LiveWidget]:
        """The class of the widgets behind these views."""
        return type(
            "LiveWidget",
            (LiveWidget,),
            {"_esm": self.room / "view.js", "_css": self.room / "view.css"},
        )


class LiveWidget(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget has no types
    """The model behind a live view's page side."""

    name = traitlets.Unicode().tag(sync=True)


def register_live(shell: Any, kind: type[T], form: LiveForm[T]) -> None:
    """Make `shell`, the kernel's IPython shell, show values of this type live; idempotent."""
    formatter = shell.display_formatter.ipython_display_formatter
    formatter.for_type(kind, lambda value: show(value, form, shell))
    shell.events.register("post_run_cell", settle)  # registers a function once only


def show(value: T, form: LiveForm[T], shell: Any) -> None:
    """Show `value` in the output of the cell that is running in `shell`."""
    mount = Mount(value, form, shell.display_pub)
    if form.ended(value):
        mount.show_static()
    elif _watched(shell):
        mount.show_live()
        _flusher.add(mount)
    else:
        mount.show_static()
        _unwatched.append(mount)


def settle(_result: Any = None) -> None:
    """Replace the unwatched outputs whose values have ended."""
    _unwatched[:] = [mount for mount in _unwatched if mount.tick()]


class Mount(Generic[T]):
    """One output of one value; `publisher` is the shell's display publisher when it is shown.

    The publisher is kept because another cell may capture the shell's outputs when the value ends.
    """

    def __init__(self, value: T, form: LiveForm[T], publisher: Any) -> None:
        self.value = value
        self.form = form
        self._publisher = publisher
        self._display_id = uuid4().hex
        self._widget: LiveWidget | None = None
        self._view: LiveView | None = None

    def show_static(self) -> None:
        """Show the value as it is now, as static text."""
        self._publish(self._static())

    def show_live(self) -> None:
        """Show a widget that follows the value."""
        self._widget = widget = self.form.widget(name=str(getattr(self.value, "name", "")))
        self._view = view = self.form.view(self.value, widget.send)
        widget.on_msg(lambda _widget, content, _buffers: view.receive(content))
        _answer_while_busy(widget.comm)
        reference = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
        widget_view = "application/vnd.jupyter.widget-view+json"
        self._publish({widget_view: reference, "text/plain": repr(self.value)})

    def tick(self) -> bool:
        """Send due updates to the page; return False once the output is static for good."""
        if self.form.ended(self.value):
            self.freeze()
            return False
        if self._view is not None:
            self._view.flush()
        return True

    def freeze(self) -> None:
        """Replace the output by the ended value's static form and release the widget."""
        try:
            self._publish(self._static(), update=True)
        finally:
            if self._view is not None and self._widget is not None:
                self._release(self._view, self._widget)

    def _static(self) -> dict[str, Any]:
        bundle: dict[str, Any] = self.value._repr_mimebundle_()  # type: ignore[attr-defined]
        return bundle

    def _release(self, view: LiveView, widget: LiveWidget) -> None:
        if view.pages > 1:
            # A page that was reloaded has lost the display id and will not replace its output:
            # closing the widget would blank it. It keeps the widget for the life of the kernel.
            view.finish()
        else:
            widget.layout.close()  # a model of its own, which ipywidgets would leave behind
            widget.close()
        view.close()

    def _publish(self, data: dict[str, Any], update: bool = False) -> None:
        data = {
            mime: sendable(value) if isinstance(value, str) else value
            for mime, value in data.items()
        }
        transient = {"display_id": self._display_id}
        self._publisher.publish(data, {}, transient=transient, update=update)


def sendable(text: str) -> str:
    """Return `text` with each lone surrogate replaced by `?`: a message cannot carry them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _watched(shell: Any) -> bool:
    """Return whether a front end shows this cell's outputs as they come.

    The request to execute says whether its sender can answer `input()`: notebook front ends can,
    executors cannot.
    """
    request = shell.kernel.get_parent()
    return bool(request.get("content", {}).get("allow_stdin", False))


def _answer_while_busy(comm: Any) -> None:
    """Let the page's messages be handled while a cell blocks.

    ipykernel 7.4 sends them to the thread that last sent on the comm, here the one that runs cells,
    unless this private hook is off; the front end then picks a thread of its own for them.
    """
    with suppress(AttributeError):
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = None
