"""Progress line of a notebook: one output of static HTML, replaced through its display ID."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from conduit_lab.core.progress import show_progress_on
from conduit_lab.core.progress_state import ProgressState
from conduit_lab.core.views import html
from conduit_lab.core.views.pieces import Line, ViewPiece
from conduit_lab.core.views.progress_bar import ProgressBar


class NotebookLine:
    """A progress line in the output of the running cell.

    It never contains a widget, so a saved notebook reads the same without a kernel.
    """

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        self._display_id = uuid4().hex
        self._shown = False

    def show(self, state: ProgressState) -> None:
        """Show the job as a bar."""
        self._publish(ProgressBar(state.name, state.amounts, state.share), state)

    def end(self, state: ProgressState) -> None:
        """Show the final line in muted text."""
        self._publish(Line(str(state), "quiet"), state)

    def _publish(self, piece: ViewPiece, state: ProgressState) -> None:
        transient = {"display_id": self._display_id}
        bundle = html.bundle(str(state), piece.html())
        self._publisher.publish(bundle, {}, transient=transient, update=self._shown)
        self._shown = True


def register_progress(shell: Any) -> None:
    """Show the progress of long jobs in the cells of `shell`, a kernel's IPython shell."""

    def new_line() -> NotebookLine | None:
        # a cell that captures its outputs would record every state
        captured = hasattr(shell.display_pub, "outputs")
        return None if captured else NotebookLine(shell.display_pub)

    show_progress_on(new_line)
