"""Terminal line: progress on a terminal's stderr, updated in place; none in a pipe."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from conduit_lab.core.progress_state import ProgressState
from conduit_lab.core.text import clip

_BAR = 20  # characters
_DEFAULT_COLUMNS = 80
_CLEAR = "\r\033[K"


class TerminalLine:
    """A progress line on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, state: ProgressState) -> None:
        """Redraw the line."""
        self._draw(state, "")

    def end(self, state: ProgressState) -> None:
        """Print the final line."""
        self._draw(state, "\n")

    def _draw(self, state: ProgressState, end: str) -> None:
        text = str(state)
        if not state.mark and state.share is not None:
            filled = round(_BAR * state.share)
            text = f"{state.name} {'█' * filled}{'░' * (_BAR - filled)} {state.amounts}"
        self._stream.write(f"{_CLEAR}{clip(text, self._width())}{end}")
        self._stream.flush()

    def _width(self) -> int:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return (columns or _DEFAULT_COLUMNS) - 1  # a full line would wrap


def terminal_line() -> TerminalLine | None:
    """Return a line on stderr if that is a terminal."""
    stream = sys.stderr
    try:
        seen = stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # no file, or closed
        seen = False
    return TerminalLine(stream) if seen else None
