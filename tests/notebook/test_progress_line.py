from __future__ import annotations

from typing import Any

import pytest

from conduit_lab.core import progress as core
from conduit_lab.core.progress_state import ProgressState
from conduit_lab.notebook.progress_line import NotebookLine, register_progress

HALF = ProgressState("handbook.add_documents", 0.5, "1 of 2 pages · 3 s left")
DONE = ProgressState("handbook.add_documents", 1.0, "2 pages in 6 s", "✓")


class Publisher:
    def __init__(self) -> None:
        self.published: list[tuple[dict[str, str], str, bool]] = []

    def publish(
        self, data: dict[str, str], metadata: Any, *, transient: dict[str, str], update: bool
    ) -> None:
        self.published.append((data, transient["display_id"], update))


class Shell:
    def __init__(self) -> None:
        self.display_pub: Any = Publisher()


def test_a_job_has_one_output_that_is_replaced() -> None:
    line = NotebookLine(publisher := Publisher())
    line.show(HALF)
    line.show(HALF)
    line.end(DONE)
    assert [update for _, _, update in publisher.published] == [False, True, True]
    assert len({display_id for _, display_id, _ in publisher.published}) == 1


def test_every_state_is_text_and_static_html() -> None:
    line = NotebookLine(publisher := Publisher())
    line.show(HALF)
    line.end(DONE)
    assert all(set(data) == {"text/plain", "text/html"} for data, _, _ in publisher.published)
    bar, quiet = (data["text/html"] for data, _, _ in publisher.published)
    assert "linear-gradient(to right" in bar
    assert "50.0%" in bar
    assert "✓ handbook.add_documents · 2 pages in 6 s" in quiet
    assert "gradient" not in quiet


def test_names_are_escaped() -> None:
    line = NotebookLine(publisher := Publisher())
    line.show(ProgressState("<script>", 0.5, "x"))
    assert "<script>" not in publisher.published[0][0]["text/html"]


def test_the_lines_of_a_kernel_are_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_new_line", None)
    shell = Shell()
    register_progress(shell)
    assert isinstance(core._new_line(), NotebookLine)
    shell.display_pub.outputs = []  # as in a cell with %%capture
    assert core._new_line() is None
