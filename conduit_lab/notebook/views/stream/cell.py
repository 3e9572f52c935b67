"""StreamCell: the place of a stream among a notebook's outputs, live while it runs and static
afterwards.

The static output replaces the live one through its display id, so that a saved notebook holds
text/html and text/plain only and reads the same without a kernel. Two ways lead there:

- A person watches (JupyterLab and other front ends): a widget shows the text as it comes; the
  session's flusher replaces it within 25 ms of the stream's end, whatever cell runs then or none.
- Nobody watches (nbclient, nbconvert, nbmake, papermill): there is never a widget. The output is
  static from the start and is replaced when a cell ends and the stream has ended, because nbclient
  takes an update only from the cell that it is executing. So the saved output is the final one if
  that cell or any later one waits for the stream, as `stream.result()` does; else it shows how far
  the stream had come when its cell was run.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import traitlets

from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.views.flusher import Flusher
from conduit_lab.notebook.views.stream.view import StreamView, sendable

_HERE = Path(__file__).parent

_flusher = Flusher()
_unwatched: list[StreamCell] = []


def register(shell: Any) -> None:
    """Make `shell`, the kernel's IPython shell, show every stream through a `StreamCell`; idempotent."""
    shell.display_formatter.ipython_display_formatter.for_type(
        Stream, lambda stream: show(stream, shell)
    )
    shell.events.register("post_run_cell", _settle)  # registers a function once only


def show(stream: Stream[Any], shell: Any) -> None:
    """Show `stream` in the output of the cell that is running in `shell`."""
    cell = StreamCell(stream, shell.display_pub)
    if stream.finished:
        cell.show_static()
    elif _watched(shell):
        cell.show_live()
        _flusher.add(cell)
    else:
        cell.show_static()
        _unwatched.append(cell)


class StreamCell:
    """One output of one stream; `publisher` is the shell's display publisher at the time of
    showing.

    The publisher is kept because another cell may capture the shell's outputs at the time the
    stream ends.
    """

    def __init__(self, stream: Stream[Any], publisher: Any) -> None:
        self.stream = stream
        self._publisher = publisher
        self._display_id = uuid4().hex
        self._widget: StreamWidget | None = None
        self._view: StreamView | None = None

    def show_static(self) -> None:
        """Show how far the stream has come, as static text."""
        self._publish(self.stream._repr_mimebundle_())

    def show_live(self) -> None:
        """Show a widget that follows the stream."""
        self._widget = widget = StreamWidget(name=self.stream.name)
        self._view = view = StreamView(self.stream, widget.send)
        widget.on_msg(lambda _widget, content, _buffers: view.receive(content))
        _answer_while_busy(widget.comm)
        reference = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
        self._publish(
            {"application/vnd.jupyter.widget-view+json": reference, "text/plain": repr(self.stream)}
        )

    def tick(self) -> bool:
        """Send the page what is due; return False once the stream has ended and the output is static."""
        if self.stream.finished:
            self.freeze()
            return False
        if self._view is not None:
            self._view.flush()
        return True

    def freeze(self) -> None:
        """Replace the output by the ended stream's static one and release the widget."""
        try:
            self._publish(self.stream._repr_mimebundle_(), update=True)
        finally:
            if self._view is not None and self._widget is not None:
                self._release(self._view, self._widget)

    def _release(self, view: StreamView, widget: StreamWidget) -> None:
        if view.pages > 1:
            # A page that was reloaded has forgotten the display id and will not replace its output:
            # closing the widget would blank it. It keeps the widget, with the whole text, for the
            # life of the kernel.
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
        self._publisher.publish(data, {}, transient={"display_id": self._display_id}, update=update)


class StreamWidget(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget has no types
    """The model behind a live view's page side, `stream.js`."""

    _esm = _HERE / "stream.js"
    _css = _HERE / "stream.css"
    name = traitlets.Unicode().tag(sync=True)


def _watched(shell: Any) -> bool:
    """Return whether a person sees this cell's outputs come in.

    The request to execute says whether its sender can answer `input()`: notebook front ends can,
    executors cannot.
    """
    request = shell.kernel.get_parent()
    return bool(request.get("content", {}).get("allow_stdin", False))


def _settle(_result: Any = None) -> None:
    """Replace the unwatched outputs whose stream has ended."""
    _unwatched[:] = [cell for cell in _unwatched if cell.tick()]


def _answer_while_busy(comm: Any) -> None:
    """Let the page's messages be handled while a cell blocks.

    ipykernel 7.4 sends them to the thread that last sent on the comm, here the one that runs cells,
    unless this private hook is off; the front end then picks a thread of its own for them.
    """
    with suppress(AttributeError):
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = None
