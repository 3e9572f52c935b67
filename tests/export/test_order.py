"""The order of an export: the notebook's, with every piece behind what it runs on."""

from __future__ import annotations

import pytest

from conduit_lab.export.cell_run import CellRun
from conduit_lab.export.closure import Closure
from tests.export.session import Session

A = "@lab.post('/a')\ndef a(n: int):\n    return "


def order(session: Session) -> list[str]:
    """Return the names of the pieces in their order."""
    return [piece.name for piece in Closure(session.lab, session.cells).pieces]


def test_pieces_come_as_the_notebook_has_them(session: Session) -> None:
    session.run("C = 3", A + "[A_, B, C, helper(n)]", "B = 2", "def helper(n):\n    return A_")
    session.run("A_ = 1")
    assert order(session) == ["C", "a", "B", "helper", "A_"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["K = 3", "def f(x=K):\n    return x", A + "f(n)"], ["K", "f", "a"]),
        (["def f():\n    return K", "K = 3", "class C:\n    x = f()", A + "C.x"],
         ["f", "K", "C", "a"]),
        (["def f(x):\n    return g(x)", "def g(x):\n    return K", "K = 3",
          "from functools import partial\nh = partial(f, 1)", A + "h()"],
         ["f", "g", "K", "h", "a"]),
        (["def f(x):\n    return g(x)", "g = f", A + "g and f"], ["f", "g", "a"]),
        (["def f(x):\n    return g(x)", "def g(x):\n    return f(x)", A + "f and g"],
         ["f", "g", "a"]),
    ],
)  # fmt: skip
def test_a_piece_is_behind_all_that_it_runs_on(
    session: Session, cells: list[str], expected: list[str]
) -> None:
    session.run(*cells)
    assert order(session) == expected


def test_what_was_run_out_of_order_is_put_right(session: Session) -> None:
    session.run("class Box:\n    def __init__(self, n):\n        self.n = n", "K = 1")
    session.run("V = Box(K)", A + "V.n")
    # the notebook shows K's cell last, where it was added and run again
    session.cells = [session.cells[0], session.cells[2], session.cells[3], "K = 1"]
    assert order(session) == ["Box", "K", "V", "a"]


def test_a_cell_that_runs_again_keeps_its_place(session: Session) -> None:
    session.run("def f(x):\n    return x", "def g(x):\n    return x", A + "f(g(n))")
    assert order(session) == ["f", "g", "a"]
    session.run("def f(x):\n    return x + 1")
    assert order(session) == ["f", "g", "a"]
    session.run(A + "f(g(n)) + 1")
    assert order(session) == ["f", "g", "a"]


def test_a_cell_is_known_by_its_key(session: Session) -> None:
    session.run("K = 1", A + "[K, L]", "K = 2\nL = 3")
    first, endpoint, again = (str(cell) for cell in session.cells)
    session.cells = [
        CellRun(1, first, key="x"),
        CellRun(2, endpoint, key="y"),
        CellRun(3, again, key="x"),
    ]
    assert order(session) == ["K", "L", "a"]
