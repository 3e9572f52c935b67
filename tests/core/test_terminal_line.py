from __future__ import annotations

import io
import sys

import pytest

from conduit_lab.core.progress_state import ProgressState
from conduit_lab.core.terminal_line import TerminalLine, terminal_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    line = terminal_line()
    assert line is not None
    line.show(ProgressState("minilm.encode", 0.25, "1 of 4 texts"))
    line.end(ProgressState("minilm.encode", 1.0, "4 texts in 2 s", "✓"))
    shown = stream.getvalue().split("\r\033[K")
    assert shown == [
        "",
        "minilm.encode █████░░░░░░░░░░░░░░░ 1 of 4 texts",
        "✓ minilm.encode · 4 texts in 2 s\n",
    ]


def test_a_pipe_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert terminal_line() is None
    monkeypatch.setattr(sys, "stderr", None)
    assert terminal_line() is None


def test_a_long_line_is_cut_to_the_terminal() -> None:
    stream = Terminal()
    TerminalLine(stream).show(ProgressState("x" * 200, None, "1 of 4 texts"))
    assert len(stream.getvalue().removeprefix("\r\033[K")) == 79
