"""Equal immutable values that code compares by identity: as in the session, or refused."""

from __future__ import annotations

import pytest

from conduit_lab.export.state.identities import identity_tests
from tests.export.session import Session
from tests.export.state.exported import difference

MARK = ("mark",)
PLAIN = object()


class Node:
    def __init__(self, parent: Node | None = None) -> None:
        self.parent = parent


def _ask(body: str) -> str:
    return f"@lab.post('/ask')\ndef ask(x: int):\n    return {body}"


@pytest.mark.parametrize(
    "value",
    ["(1, 2)", "'two words'", "b'two words'", "1000", "0.5", "1.5j"],
)
def test_equal_values_of_two_cells_are_refused_where_identity_counts(
    session: Session, value: str
) -> None:
    session.run(f"A = {value}", f"B = {value}", _ask("A is B"), "ask(0)")
    problem = difference(session)
    assert problem is not None
    assert "→ B, compared by identity in ask: an object of its own here" in problem
    assert "compare with == in place of `is`" in problem


@pytest.mark.parametrize(
    ("cells", "body"),
    [
        (("A = (1, 2)", "pair = []", "pair.append((1, 2))"), "pair[0] is A"),
        (("M = ('m',)", "def pick(v=M): return v is M"), "[pick(), pick(('m',))]"),
        (
            ("from datetime import date", "A = date(2026, 1, 1)", "L = []", "L.append(A)"),
            "A is L[0]",
        ),
        (("A = 'one two'", "class Kind:\n    mark = 'one two'"), "A is Kind.mark"),
        (
            ("M = ('m',)", "def of(m):\n    return lambda v: v is m", "f = of(M)", "N = ('m',)"),
            "f(N)",
        ),
    ],
)
def test_a_difference_of_identity_is_found_wherever_the_values_are(
    session: Session, cells: tuple[str, ...], body: str
) -> None:
    session.run(*cells, _ask(body), "ask(0)")
    assert "compared by identity" in str(difference(session))


@pytest.mark.parametrize(
    ("cells", "body"),
    [
        (("A = (1, 2)", "B = (1, 2)"), "[A == B, x is None, type(A) is type(B)]"),
        (("A = 'word'", "B = 'word'"), "A is B"),
        (("A = (1, 2)", "B = A", "pair = [A, B]"), "[A is B, pair[0] is A]"),
        (("M = object()", "A = 'a b'", "B = 'a b'"), "[x is M, A, B]"),
        (("M = ('m',)", "A = 'a b'", "B = 'a b'"), "[x is M, A, B]"),
    ],
)
def test_other_code_and_equal_identities_are_exported(
    session: Session, cells: tuple[str, ...], body: str
) -> None:
    session.run(*cells, _ask(body), "ask(0)")
    assert difference(session) is None


GRAPH = """
class Node:
    def __init__(self, *below):
        self.below = below
NODES = [Node(), Node()]
NODES.append(Node(*NODES, NODES[0]))
"""
ROWS = 'import json\nROWS = json.loads(\'[{"of": "a b", "n": 1234}, {"of": "a b", "n": 1234}]\')'


@pytest.mark.parametrize(
    "count",
    [
        "def count(node, seen):\n    if id(node) in seen:\n        return 0\n"
        "    seen.add(id(node))\n    return 1 + sum(count(each, seen) for each in node.below)",
        "def count(node, seen):\n    return sum(1 for other in NODES if other is not node)",
        "def count(node, seen):\n    def same(a, b):\n        return a is b\n"
        "    return sum(same(node, each) for each in NODES)",
    ],
    ids=["id", "is not", "a helper"],
)
def test_objects_are_compared_by_identity_beside_equal_texts(session: Session, count: str) -> None:
    session.run(ROWS, GRAPH, count, _ask("[count(NODES[2], set()), ROWS[x]['of']]"), "ask(0)")
    assert difference(session) is None


@pytest.mark.parametrize(
    "cells",
    [
        ("n = float('nan')", "seen = [1.0]", "seen.append(n)"),
        ("n = float('nan')", "seen = [(n, 1)]", "seen += [n, float('nan')]"),
        ("n = float('nan')", "seen = {}", "seen['a'] = {'b': n}", "seen['c'] = n"),
        ("import math\nn = math.nan", "seen = [1.0]", "seen.append(n)"),
        ("import numpy as np\nn = np.nan", "seen = [1.0]", "seen.append(n)"),
    ],
)
def test_a_nan_stays_the_same_object(session: Session, cells: tuple[str, ...]) -> None:
    session.run(*cells, _ask("[n in seen, str(seen)]"), "ask(0)")
    assert difference(session) is None


def test_a_nan_that_became_two_objects_is_refused(session: Session) -> None:
    cells = "from decimal import Decimal\nn = Decimal('NaN')", "seen = []", "seen.append(n)"
    session.run(*cells, _ask("n in seen"), "ask(0)")
    assert "math.isnan" in str(difference(session))


def test_only_comparisons_of_values_that_python_copies_count() -> None:
    def ordinary(a: object, node: Node, root: Node) -> object:
        while node is not root and node.parent:
            node = node.parent
        return [a is None, a is PLAIN, a is Node, type(a) is type(root), a.__class__ is Node]

    def marked(a: object) -> bool:
        return a is MARK

    def unknown(a: list[object]) -> bool:
        return any(one is a[0] for one in a)

    assert list(identity_tests(ordinary)) == []  # type: ignore[arg-type]
    assert [test.values for test in identity_tests(marked)] == [(MARK,)]  # type: ignore[arg-type]
    assert list(identity_tests(unknown)) == []  # type: ignore[arg-type]
