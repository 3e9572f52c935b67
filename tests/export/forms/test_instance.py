"""Instances of the session's classes, records and members of enumerations."""

from __future__ import annotations

import pytest

from tests.export.forms.carried import MADE, carried, snapshot
from tests.export.session import Session

CLASSES = """
import enum
import attrs
from dataclasses import dataclass, field
from typing import NamedTuple
from pydantic import BaseModel, Field

class Shop:
    def __init__(self, name, top=2):
        self.name = name
        self.items = []
        self.top = top

class Loud:
    made = print
    def __init__(self):
        Loud.made(end="")
        self.items = [1]

class Slotted:
    __slots__ = ("a", "b")
    def __init__(self):
        print(end="")
        self.a = [1]

class Config(dict):
    def __init__(self, *given):
        super().__init__(*given)
        self.path = "p"

class Words(list):
    pass

class Name(str):
    pass

class Color(enum.Enum):
    RED = 1
    BLUE = "b"

class Level(enum.IntEnum):
    LOW = 1

class Bits(enum.Flag):
    A = 1
    B = 2

class Point(NamedTuple):
    x: int
    y: str = "a"

@dataclass
class Item:
    x: int
    tags: list = field(default_factory=list)

@dataclass(frozen=True, slots=True)
class Fixed:
    x: int

@dataclass
class Twice:
    x: int
    def __post_init__(self):
        self.y = 2 * self.x

@attrs.define
class Part:
    x: int
    _hidden: int = 1

class Order(BaseModel):
    count: int = Field(ge=1)
    note: str = ""
    size: int = Field(2, alias="Size")
"""


@pytest.mark.parametrize(
    "cell",
    [
        "V = Shop('a', top=3)  # the shop",
        "V = [Shop('a'), Shop('b')]",
        "V = Item(1, ['x'])",
        "V = {'p': Point(1), 'fixed': Fixed(2)}",
        "V = Part(1)",
        "V = Order(count=2)",
        "V = [Color.RED, Level.LOW, Color]",
    ],
)
def test_a_constructor_that_only_sets_attributes_stays(session: Session, cell: str) -> None:
    assert carried(session, CLASSES, cell).endswith(cell)


@pytest.mark.parametrize(
    ("cell", "later", "expected"),
    [
        ("V = Shop('a')", "V.items.append(3)",
         'V = Shop.__new__(Shop)\nvars(V).update(name="a", items=[3], top=2)'),
        ("V = Loud()", "", "V = Loud.__new__(Loud)\nvars(V).update(items=[1])"),
        ("V = Slotted()", "", "V = Slotted.__new__(Slotted)\nV.a = [1]"),
        ("V = Config({'a': 1})", "",
         "V = Config.__new__(Config)\ndict.update(V, {'a': 1})\nvars(V).update(path=\"p\")"),
        ("V = Words('ab')", "V.append('c')",
         "V = Words.__new__(Words)\nlist.extend(V, ['a', 'b', 'c'])"),
        ("V = Name('ab')", "", 'V = Name.__new__(Name, "ab")'),
        ("V = Item(1)", "V.tags.append('x')", "V = Item(x=1, tags=['x'])"),
        ("V = Item(1)", "V.more = 2",
         "V = Item.__new__(Item)\nvars(V).update(x=1, tags=[], more=2)"),
        ("V = Twice(1)", "V.y = 7", "V = Twice.__new__(Twice)\nvars(V).update(x=1, y=7)"),
        ("V = Part(1)", "V.x = 2", "V = Part(x=2, hidden=1)"),
        ("V = made(Fixed(1))", "", "V = Fixed(x=1)"),
        ("V = made(Point(1))", "", 'V = Point(x=1, y="a")'),
        ("V = made(Color.BLUE)", "", "V = Color.BLUE"),
        ("V = made(Level.LOW)", "", "V = Level.LOW"),
        ("V = made(Bits.A | Bits.B)", "", "V = Bits(3)"),
        ("V = made(Order(count=2, Size=5))", "V.count = 3", "V = Order(count=3, Size=5)"),
    ],
)  # fmt: skip
def test_a_changed_instance_is_written_as_it_is(
    session: Session, cell: str, later: str, expected: str
) -> None:
    source = carried(session, CLASSES, MADE, cell, later)
    assert source.endswith(snapshot(expected))


def test_the_parts_of_an_instance_have_their_forms(session: Session) -> None:
    desk = (
        "class Desk:\n    def __init__(self, **parts):\n        print(end='')\n"
        "        self.__dict__.update(parts)"
    )
    cells = (
        "sign = lab.load_model('models/sign.npz')\nnotes = lab.vector_store('notes', dimension=2)",
        "V = Desk(sign=sign, notes=notes, ask=sign.predict, made=made)",
    )
    source = carried(session, MADE, desk, *cells)
    assert "vars(V).update(sign=sign, notes=notes, ask=sign.predict, made=made)" in source


@pytest.mark.parametrize(
    "made",
    [
        "namedtuple('Pair', 'x y')(1, 2)",
        "enum.Enum('Shade', 'DARK LIGHT')",
        "typing.NewType('Id', int)",
        "typing.TypedDict('Row', {'a': int})",
        "dataclasses.make_dataclass('Made', ['x'])",
    ],
)
def test_functional_types_are_made_again(session: Session, made: str) -> None:
    imports = "import dataclasses, enum, typing\nfrom collections import namedtuple"
    name = made.split("'")[1]
    if ")(" in made:
        cell = f"{name} = {made.removesuffix('(1, 2)')}\nV = {name}(1, 2)"
    else:
        cell = f"V = {made.replace(name, 'V')}"
    assert carried(session, imports, cell).endswith(cell.splitlines()[-1])
