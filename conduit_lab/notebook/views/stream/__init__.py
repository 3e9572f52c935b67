"""The live view of a `Stream`: its text as it arrives, its figures, newest image and Stop."""

from typing import Any

from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.cell_streams import stop_unnamed
from conduit_lab.notebook.mount import LiveForm
from conduit_lab.notebook.views.stream.view import StreamView

STREAM: LiveForm[Stream[Any, Any]] = LiveForm(
    "stream",
    StreamView,
    ended=lambda stream: stream.finished,
    running=lambda stream: not stream.finished,
    release=stop_unnamed,
)
