"""Objects whose code raises, lies or never ends: the walk does not run it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from conduit_lab.export.state.compared import app_state, state_difference
from conduit_lab.export.state.walk import MAX_PLACE_CHARACTERS, StateLine
from tests.export.session import Session

# a statement that binds `odd`, an object whose part `size` is 3
ODD = {
    "__getattr__ gives a dict": "class Odd:\n    def __getattr__(self, name): return {}",
    "__getattribute__ raises": (
        "class Odd:\n    def __getattribute__(self, name): raise ValueError(name)"
    ),
    "__reduce_ex__ raises": ("class Odd:\n    def __reduce_ex__(self, protocol): raise SystemExit"),
    "__getstate__ lies": "class Odd:\n    def __getstate__(self): return {'size': 4}",
    "__eq__ and __hash__ raise": (
        "class Odd:\n    def __eq__(self, other): raise ValueError\n    __hash__ = None"
    ),
    "__len__, __iter__ and __bool__ raise": (
        "class Odd:\n    def __len__(self): raise ValueError\n"
        "    def __iter__(self): raise ValueError\n    def __bool__(self): raise ValueError"
    ),
    "a property raises": (
        "class Odd:\n    @property\n    def itertuples(self): raise ValueError\n"
        "    @property\n    def __wrapped__(self): raise ValueError"
    ),
    "__class__ lies": "class Odd:\n    @property\n    def __class__(self): return dict",
    "__class__ raises": "class Odd:\n    @property\n    def __class__(self): raise ValueError",
    "__repr__ and __module__ are odd": (
        "class Odd:\n    __module__ = 7\n    def __repr__(self): raise ValueError"
    ),
    "a metaclass that is odd": (
        "class Meta(type):\n    def __iter__(cls): raise ValueError\n"
        "    def __eq__(cls, other): raise ValueError\n    __hash__ = type.__hash__\n"
        "    def __getattribute__(cls, name): raise ValueError(name)\n"
        "    def __instancecheck__(cls, value): raise ValueError\n"
        "class Odd(metaclass=Meta): pass"
    ),
    "a dict with its own items": (
        "class Odd(dict):\n    def items(self): raise ValueError\n"
        "    def __iter__(self): raise ValueError"
    ),
    "a list with its own length": (
        "class Odd(list):\n    def __len__(self): raise ValueError\n"
        "    def __iter__(self): raise ValueError"
    ),
    "a counter with its own reduce": (
        "from collections import Counter\n"
        "class Odd(Counter):\n    def __reduce__(self): raise ValueError"
    ),
    "slots": "class Odd:\n    __slots__ = ('size', 'unset')\n"
    "    def __getattr__(self, name): raise ValueError",
}
SET = "object.__setattr__(odd, 'size', {size})"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def lines(session: Session, *cells: str) -> list[StateLine]:
    session.run(*cells)
    if not session.lab.endpoints:
        session.run('@lab.post("/ask")\ndef ask(): return [odd is None, last]')
    return app_state(session.lab, session.names, session.root)


@pytest.mark.parametrize("name", ODD)
def test_the_parts_of_an_odd_object_are_compared(name: str, session: Session) -> None:
    cells = [ODD[name], "odd = object.__new__(Odd)" if "class Odd:" in ODD[name] else "odd = Odd()"]
    here = lines(session, *cells, SET.format(size=3), "last = 7")
    assert StateLine("POST /ask → ask → odd.size", "int 3") in here
    assert StateLine("POST /ask → ask → last", "int 7") in here
    assert state_difference(here, lines(session)) is None
    there = lines(session, SET.format(size=4))
    assert "odd.size: int 3 here, int 4 in the export" in str(state_difference(here, there))


def test_the_content_of_a_subclass_of_a_container_is_compared(session: Session) -> None:
    session.run(
        "class Bag(list):\n    def __iter__(self): raise ValueError\n"
        "class Name(str): pass\nclass Level(int): pass",
        "odd = [Bag([1]), Name('a'), Level(2)]\nlast = 1",
    )
    here = lines(session)
    for change in ("odd[0].append(2)", "odd[1] = Name('b')", "odd[2] = Level(3)"):
        there = lines(session, change)
        assert "its content" in str(state_difference(here, there))
        here = there


def test_sets_of_objects_have_one_order(session: Session) -> None:
    session.run(
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass P:\n    name: str\n"
        "    def __repr__(self): raise ValueError",
        "odd = {P(str(i)) for i in range(20)}\nlast = 1",
    )
    here = lines(session)
    session.run("odd = {P(str(i)) for i in reversed(range(20))}")
    assert state_difference(here, lines(session)) is None
    session.run("odd = {P(str(i)) for i in range(1, 21)}")
    assert state_difference(here, lines(session)) is not None


def test_a_deep_value_costs_no_more_than_its_items(session: Session) -> None:
    session.run("odd = []\nfor _ in range(20000): odd = [odd, []]", "last = 1")
    here = lines(session)
    assert len(here) > 40_000
    assert max(len(line.place) for line in here) <= MAX_PLACE_CHARACTERS + 1
    session.names["odd"] = session.names["last"] = None  # freed before the next test


def test_objects_that_run_have_only_a_kind(session: Session) -> None:
    session.names["odd"] = [threading.Lock(), (n for n in [1]), open]
    assert StateLine("POST /ask → ask → odd[1]", "a generator") in lines(session, "last = 7")
