"""The session of a notebook: its cells and its names, and neither outside of IPython."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from conduit_lab.notebook import history


def test_a_session_has_its_cells_and_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, names = ["", "a = 1"], {"a": 1}
    shell = SimpleNamespace(history_manager=SimpleNamespace(input_hist_parsed=cells), user_ns=names)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert history.cells() == cells
    assert history.cells() is not cells
    assert history.namespace() is names


def test_without_a_shell_there_is_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    assert (history.cells(), history.namespace()) == (None, None)


def test_asking_for_the_session_does_not_import_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert (history.cells(), history.namespace()) == (None, None)
    assert "IPython" not in sys.modules
