"""The session of a notebook: its cells and its names, and neither outside of IPython."""

from __future__ import annotations

import sys

import pytest

from conduit_lab.notebook import history
from tests.notebook.shell import RealShell


def test_a_session_has_its_cells_and_its_names(shell: RealShell) -> None:
    shell.run("a = 1")
    cells = history.cells()
    assert cells is not None
    assert [cell.source for cell in cells] == ["a = 1"]
    assert history.cells() is not cells
    assert (history.namespace() or {})["a"] == 1


def test_without_a_shell_there_is_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    history.record_cells()
    assert (history.cells(), history.namespace()) == (None, None)


def test_asking_for_the_session_does_not_import_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    history.record_cells()
    assert (history.cells(), history.namespace()) == (None, None)
    assert "IPython" not in sys.modules
