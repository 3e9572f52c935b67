"""Aliases: what two slots or two names hold stays one object; cycles are written or refused."""

from __future__ import annotations

import pytest

from tests.export.forms.carried import MADE, SNAPSHOT, carried
from tests.export.session import Session


def test_one_list_in_two_slots_has_a_name_of_its_own(session: Session) -> None:
    source = carried(session, MADE, "V = made([[1], [2]])", "V.append(V[0])", body="V[0] is V[2]")
    assert source.endswith(f"_V_1 = [1]\nV = [_V_1, [2], _V_1]{SNAPSHOT}")
    assert session.lab.examples[-1].answer is True


@pytest.mark.parametrize(
    ("setup", "body"),
    [
        ("a = [1]\nV = {'x': a, 'y': a}", "V['x'] is V['y']"),
        ("a = [1]\nV = made({'x': a, 'y': (a,)})\nV['n'] = 1", "V['x'] is V['y'][0]"),
        ("V = [[1]]\nW = V[0]", "V[0] is W"),
        ("W = [1]\nV = [[1]]\nV[0] = W", "V[0] is W"),
        ("V = [{'id': n} for n in range(3)]\nW = {}\nfor v in V: W[v['id']] = v",
         "all(W[n] is V[n] for n in range(3))"),
        ("from types import SimpleNamespace as S\nW = []\nV = S(rows=W, n=1)\nV.n = 2\nW.append(3)",
         "V.rows is W"),
        ("from collections import deque\nW = deque()\nV = made([W])\nV.append(W)", "V[1] is W"),
        ("import numpy as np\nW = made(np.ones(2))\nV = {'w': W}", "V['w'] is W"),
        ("class Box:\n    def __init__(self): print(end=''); self.items = []\nW = Box()\n"
         "V = made([W])\nV.append(W.items)", "V[0] is W and V[1] is W.items"),
    ],
)  # fmt: skip
def test_an_alias_stays(session: Session, setup: str, body: str) -> None:
    carried(session, MADE, setup, body=body)
    assert session.lab.examples[-1].answer is True


def test_objects_that_know_each_other_are_written(session: Session) -> None:
    node = (
        "class Node:\n    def __init__(self, parent=None):\n        print(end='')\n"
        "        self.parent, self.kids = parent, []\n"
        "        parent and parent.kids.append(self)"
    )
    source = carried(session, node, "V = Node()\nNode(V)", body="V.kids[0].parent is V")
    assert session.lab.examples[-1].answer is True
    assert "V = Node.__new__(Node)\n_V_2 = Node.__new__(Node)\n" in source


@pytest.mark.parametrize(
    ("cell", "later", "body", "filled"),
    [
        ("V = {}", "V['me'] = V", "V['me'] is V", 'V.update({"me": V})'),
        ("V = []", "V.append(V)", "V[0] is V", "V.extend([V])"),
        (
            "V = {}",
            "V['kids'] = [{'parent': V}]",
            "V['kids'][0]['parent'] is V",
            'V.update({"kids": [{"parent": V}]})',
        ),
    ],
)
def test_a_container_inside_itself_is_made_empty_and_filled(
    session: Session, cell: str, later: str, body: str, filled: str
) -> None:
    assert carried(session, cell, later, body=body) == f"{cell}\n{filled}{SNAPSHOT}"
    assert session.lab.examples[-1].answer is True
