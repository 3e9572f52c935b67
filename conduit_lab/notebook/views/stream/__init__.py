"""The live view of a `Stream`: its text as it comes, its figures, its newest image and Stop."""

from pathlib import Path

from conduit_lab.notebook.mount import LiveForm
from conduit_lab.notebook.views.stream.view import StreamView

STREAM = LiveForm(Path(__file__).parent, StreamView, lambda stream: stream.finished)
