"""Iterators in an export: they continue where the session's stand."""

from __future__ import annotations

import pytest

from tests.export.session import Session
from tests.export.state.exported import difference

ASK = "@lab.post('/ask')\ndef ask(x: int):\n    return [str(V), x, items]"


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("V = iter(items)", "V = iter(items)"),
        ("V = iter(items)\nnext(V)", "V = iter(items)\nV.__setstate__(1)"),
        ("V = iter('abc')\nfirst = next(V)", "V = iter('abc')\nV.__setstate__(1)"),
        ("V = reversed(items)\nnext(V)", "V = reversed(items)\nV.__setstate__(1)"),
        ("V = iter(items)\nlist(V)", "V = iter([])\nnext(V, None)"),
        ("V = enumerate(items, 5)\nnext(V)", "V = enumerate(_V_1, 6)"),
        ("V = map(lambda n: n * 2, items)\nnext(V)", "V = map(lambda n: n * 2, _V_1)"),
        ("V = zip(items, [1, 2, 3], strict=True)\nnext(V)", "V.__setstate__(True)"),
    ],
)
def test_an_iterator_keeps_its_position(session: Session, cell: str, line: str) -> None:
    session.run("items = [1, 2, 3]", cell, ASK, "ask(0)")
    assert line in session.source().replace('"', "'")
    assert difference(session) is None


def test_two_iterators_share_their_source(session: Session) -> None:
    session.run("source = iter([1, 2, 3])\nnext(source)", "items = []")
    session.run("V = {}", "V['a'] = enumerate(source)", "V['b'] = source", ASK, "ask(0)")
    assert difference(session) is None
