"""Objects that hold each other, by names or without: created first, and then filled."""

from __future__ import annotations

import pytest

from tests.export.session import Session
from tests.export.state.exported import difference

NODE = "class Node:\n    def __init__(self): self.next = self.prev = None; self.kids = []"
RECORD = (
    "from dataclasses import dataclass, field\n@dataclass(eq=False)\n"
    "class Person:\n    name: str\n    friends: set = field(default_factory=set)"
)


@pytest.mark.parametrize(
    ("cells", "used"),
    [
        (("V = [1]", "V.append(V)"), "V[1] is V"),
        (("V = {'n': 1}", "b = [V]", "V['b'] = b"), "V['b'] is b"),
        (("V = {'n': 1}", "V['t'] = (V, 2)"), "V['t'][0] is V"),
        ((NODE, "V, b = Node(), Node()", "V.next, b.prev = b, V"), "V.next is b"),
        ((NODE, "V, b = Node(), Node()", "V.kids.append(b)\nb.next = V"), "b.next is V"),
        ((NODE, "V = Node()", "V.prev = {'me': V}", "b = V.prev"), "b['me'] is V"),
        (
            (RECORD, "V, b = Person('v'), Person('b')", "V.friends.add(b)\nb.friends.add(V)"),
            "[V, b]",
        ),
        ((NODE, "V = Node()", "V.next = V.__init__", "b = [V.next]"), "len(b)"),
    ],
)
def test_a_cycle_is_carried(session: Session, cells: tuple[str, ...], used: str) -> None:
    session.run(*cells, f"@lab.get('/v')\ndef v():\n    return str({used})[:1]", "v()")
    assert difference(session) is None


def test_a_named_object_of_a_cycle_keeps_its_name(session: Session) -> None:
    session.run(NODE, "a, b = Node(), Node()", "a.next, b.prev = b, a")
    session.run("@lab.get('/v')\ndef v():\n    return a.next is b", "v()")
    assert "\nb = a.next\n" in session.source()


def test_sets_of_objects_with_sets_are_compared_in_bounded_time(session: Session) -> None:
    session.run(RECORD, "V = [Person(f'p{n}') for n in range(12)]")
    session.run("for each in V: each.friends |= set(V)")
    session.run("@lab.get('/v')\ndef v():\n    return len(V[0].friends)", "v()")
    assert difference(session) is None


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (
            "import types\nV.f = types.MethodType(lambda self: 7, V)",
            "MethodType(lambda self: 7, V)",
        ),
        ("def g(self): return 8\nV.f = g.__get__(V)", "MethodType(g, V)"),
        ("def f(self): return 8\nV.f = f.__get__(V)", "MethodType(f, V)"),
        ("V.f = V.run", "V.run"),
    ],
)
def test_a_function_bound_by_hand_is_bound_again(session: Session, made: str, line: str) -> None:
    session.run("class A:\n    def run(self): return 1\n    def f(self): return 2\nV = A()", made)
    session.run("@lab.get('/v')\ndef v():\n    return V.f()", "v()")
    assert line in session.source()
    assert difference(session) is None


def test_a_record_stays_a_row_of_its_array(session: Session) -> None:
    session.run("import numpy as np\nrows = np.zeros(4, dtype=[('v', 'f4')])")
    session.run("V = []", "V.append(rows[::2][1])\nV.append(rows[3])")
    session.run("@lab.get('/v')\ndef v():\n    return [float(V[0]['v']), len(rows)]", "v()")
    assert "V = [rows[2], rows[3]]" in session.source()


def test_a_module_made_by_its_type_is_made_again(session: Session) -> None:
    session.run("import types\nV = types.ModuleType('virtual')\nV.rate = 4", "V.rate = 5")
    session.run("@lab.get('/v')\ndef v():\n    return V.rate", "v()")
    assert difference(session) is None
    session.run("vars(V)['rate'] = 6")
    assert "rate: int 6 here, int 5 in the export" in str(difference(session))


def test_endpoints_of_a_comprehension_are_served_by_it(session: Session) -> None:
    made = "V = {k: lab.get(f'/by{k}')(lambda k=k: k) for k in (2, 3)}"
    session.run(made, "[each() for each in V.values()]")
    assert made in session.source()
    assert difference(session) is None
