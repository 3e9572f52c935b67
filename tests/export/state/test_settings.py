"""Settings: those of the libraries that code uses and, if a cell sets them, of the process."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from conduit_lab.export.state.compared import Sides, state_difference
from conduit_lab.export.state.settings import FORMATTING, settings_difference, settings_of
from conduit_lab.export.state.walk import StateLine


def found(*packages: str, cells: list[str] | None = None) -> dict[str, str]:
    """Return the settings that matter to code which uses the packages."""
    return dict(settings_of(packages, [] if cells is None else cells))


def test_only_options_that_differ_from_their_defaults_are_settings() -> None:
    pandas = pytest.importorskip("pandas")
    assert found("pandas", FORMATTING) == {}
    with pandas.option_context("display.precision", 2):
        assert found("pandas", FORMATTING) == {"pandas option display.precision": "2"}
        assert found("numpy.linalg", FORMATTING).keys().isdisjoint(found("pandas", FORMATTING))


def test_how_values_look_matters_to_code_that_makes_texts() -> None:
    pandas = pytest.importorskip("pandas")
    with np.printoptions(precision=2), pandas.option_context("display.precision", 2):
        assert found("numpy", "pandas") == {}
        assert found("numpy", FORMATTING)["numpy print option precision"] == "2"


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("sys.setrecursionlimit(9)", "sys.getrecursionlimit()"),
        ("import socket\nsocket.setdefaulttimeout(3)", "socket.getdefaulttimeout()"),
    ],
)
def test_what_tools_set_too_is_a_setting_where_a_cell_sets_it(cell: str, name: str) -> None:
    assert name not in found(cells=["x = 1"])
    assert name in found(cells=["x = 1", cell])
    here, there = found(cells=["x = 1"]), dict(settings_of([], None))
    assert name in there
    assert settings_difference(here, there, []) is None


def test_warnings_are_settings_where_they_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.filterwarnings("ignore")
        assert found(cells=["warnings.simplefilter('ignore')"]) == {}
        warnings.filterwarnings("error", "no such", UserWarning)
        (text,) = found(cells=["warnings.filterwarnings('error')"]).values()
    assert "UserWarning" in text
    assert "no such" in text


def test_a_difference_names_the_values_the_endpoint_and_the_line() -> None:
    setting, limit = "setting sys.getrecursionlimit()", sys.getrecursionlimit()
    ask = StateLine("POST /ask → ask", "function")
    here, there = [ask, StateLine(setting, "9000")], [ask, StateLine(setting, str(limit))]
    cells = ["import sys", "  sys.setrecursionlimit(9000)"]
    problem = f"{setting}: 9000 here, {limit} in the export (needed by POST /ask → ask)"
    mend = (
        "Cell 1 sets it for the whole session: sys.setrecursionlimit(9000). "
        "Set it inside the function that needs it"
    )
    assert state_difference(here, there, cells) == f"{problem}. {mend}"
    sides = Sides("here", "in the export", is_session=False)
    assert state_difference(here, there, cells, sides) == problem
    gone = state_difference([], [StateLine("setting csv.field_size_limit()", "5")])
    assert "csv.field_size_limit(): its default here, 5 in the export" in str(gone)
