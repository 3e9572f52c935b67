"""The live view of several streams: columns with a common time axis, Stop for each and for all."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.streams.side_by_side import SideBySide
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.cell_streams import stop_unnamed
from conduit_lab.notebook.mount import LiveForm, register_live, show
from conduit_lab.notebook.views.streams.streams_view import StreamsView


def _release(group: SideBySide) -> None:
    for stream in group.streams:
        stop_unnamed(stream)


STREAMS: LiveForm[SideBySide] = LiveForm(
    "streams",
    StreamsView,
    ended=lambda group: group.finished,
    running=lambda group: not group.finished,
    release=_release,
)


def register_streams(shell: Any) -> None:
    """Make `shell` show a list or tuple of at least two streams side by side; idempotent.

    All other lists and tuples are shown as usual in IPython.
    """
    register_live(shell, SideBySide, STREAMS)
    formatter = shell.display_formatter.ipython_display_formatter
    for kind in (list, tuple):
        formatter.for_type(kind, lambda value: _show(value, shell))


def _show(value: Any, shell: Any) -> None:
    if len(value) >= 2 and all(isinstance(item, Stream) for item in value):
        show(SideBySide(value), STREAMS, shell)
    elif type(value) not in (list, tuple) and hasattr(type(value), "_ipython_display_"):
        value._ipython_display_()  # a subclass: the type registered here hides its method
    else:
        raise NotImplementedError  # IPython then tries its other formatters
