"""A wrong export differs in state from its session; a correct one does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conduit_lab.export.state.compared import app_state, state_difference
from conduit_lab.export.state.walk import StateLine
from tests.export.session import Session
from tests.export.state.exported import difference
from tests.project import ROOT

# name: (cells before the endpoint, its body, cells after it, words of the difference)
DIFFERENT = {
    "a stale default": (
        "K = 3\ndef clip(x, limit=K):\n    return min(x, limit)\nK = 99",
        "return clip(100)",
        "",
        "clip, default of limit: int 3 here, int 99 in the export",
    ),
    "a stale keyword default": (
        "K = 3\ndef clip(x, *, limit=K):\n    return min(x, limit)\nK = 99",
        "return clip(100)",
        "",
        "clip, default of limit: int 3 here",
    ),
    "an old constant in a class body": (
        "RATE = 2\nclass Shop:\n    rate = RATE\nRATE = 3",
        "return Shop.rate",
        "",
        "Shop.rate: int 2 here, int 3 in the export",
    ),
    "a counter in a class": (
        "class Ticket:\n    made = 0\n    def __init__(self): Ticket.made += 1",
        "return Ticket.made",
        "Ticket(); Ticket()",
        "Ticket.made: int 2 here, int 0 in the export",
    ),
    "a registry filled by subclasses": (
        "class Base:\n    known = []\n"
        "    def __init_subclass__(cls): Base.known.append(cls.__name__)",
        "return Base.known",
        "class A(Base): pass",
        "Base.known",
    ),
    "a base that was run again": (
        "class Base:\n    def rate(self): return 1\nclass Shop(Base): pass",
        "return Shop().rate()",
        "class Base:\n    def rate(self): return 2",
        "Shop, base 1",
    ),
}

# name: (cells before the endpoint, its body, cells after it)
EQUAL = {
    "plain values, tables and arrays": (
        "import numpy as np\nimport re\nfrom decimal import Decimal\nfrom pathlib import Path\n"
        "RATES = {'a': 1.5, 'b': [1, (2, 3)]}\nWORDS = {'x', 'y', 'z'}\nW = np.arange(6.0)\n"
        "price = Decimal('1.10')\npattern = re.compile('a+')\nplace = Path('data')",
        "return [RATES, sorted(WORDS), W.tolist(), str(price), pattern.pattern, str(place)]",
        "",
    ),
    "classes with bases, properties and slots": (
        "from dataclasses import dataclass, field\nfrom enum import Enum\n"
        "class Color(Enum):\n    RED = 1\n    BLUE = 2\n"
        "@dataclass\nclass Item:\n    name: str\n"
        "    tags: list[str] = field(default_factory=list)\n"
        "class Slotted:\n    __slots__ = ('a',)\n"
        "    @property\n    def twice(self): return 2 * self.a\n"
        "    @staticmethod\n    def one(): return 1\n",
        "s = Slotted(); s.a = 2\n"
        "    return [s.twice, Slotted.one(), Item('x').tags, Color.RED.value]",
        "",
    ),
    "decorators and caches": (
        "import functools\n@functools.lru_cache\ndef slow(x): return x + 1\n"
        "def twice(function):\n    @functools.wraps(function)\n"
        "    def inner(x): return 2 * function(x)\n    return inner\n"
        "@twice\ndef add(x): return x + 1",
        "return slow(1) + add(1)",
        "",
    ),
    "pydantic models": (
        "from pydantic import BaseModel, Field\n"
        "class Order(BaseModel):\n    count: int = Field(ge=1)\n    note: str = ''\n",
        "return Order(count=2).model_dump()",
        "",
    ),
    "imports used as functions": (
        "import math\nfrom collections import Counter, defaultdict, deque\n"
        "from statistics import mean as average",
        "return [math.sqrt(4), average([1, 2]), Counter('aab')['a'], len(deque([1]))]",
        "",
    ),
    "named tuples and aliases": (
        "from collections import namedtuple\nPoint = namedtuple('Point', 'x y')\n"
        "first = [1, 2]\nsecond = first\norigin = Point(0, 1)",
        "return [first is second, origin.y, Point(1, 2).x]",
        "",
    ),
    "a class patched after its statement": (
        "class Shop:\n    def price(self): return 1",
        "return Shop().price()",
        "Shop.price = lambda self: 2",
    ),
    "registrations": (
        "from functools import singledispatch\n@singledispatch\ndef show(x): return 'any'",
        "return show(1)",
        "@show.register\ndef _(x: int): return 'int'",
    ),
    "an attribute of a function": (
        "def tally(): return tally.total\ntally.total = 7",
        "return tally()",
        "",
    ),
}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_wrong_export_is_a_difference(name: str, session: Session) -> None:
    before, body, after, words = DIFFERENT[name]
    endpoint = f'@lab.post("/ask")\ndef ask():\n    {body}'
    session.run(*before.split("\n\n"), endpoint, *filter(None, [after]), "ask()")
    found = difference(session)
    assert found is not None
    assert words in found
    assert "Run the cell that defines" in found


@pytest.mark.parametrize("name", EQUAL)
def test_an_equal_export_has_an_equal_state(name: str, session: Session) -> None:
    before, body, after = EQUAL[name]
    endpoint = f'@lab.post("/ask")\ndef ask():\n    {body}'
    session.run(before, endpoint, *filter(None, [after]), "ask()")
    assert difference(session) is None


def test_a_module_changed_in_memory_is_a_difference(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session.root / "shop_settings.py").write_text("MAX = 1\n")
    monkeypatch.syspath_prepend(str(session.root))
    ask = '@lab.post("/ask")\ndef ask(): return shop_settings.MAX'
    session.run("import shop_settings", ask, "vars(shop_settings).update(MAX=100)", "ask()")
    here = app_state(session.lab, session.names, session.root)
    assert StateLine("shop_settings.MAX", "int 100") in here
    found = difference(session)
    assert found is not None
    assert "shop_settings.MAX: int 100 here, int 1 in the export" in found


def test_a_model_file_that_changed_since_is_a_difference(session: Session) -> None:
    models = ROOT / "data" / "models"
    shutil.copy(models / "m1.npz", session.root / "m.npz")
    session.run(
        'model = lab.load_model("m.npz")',
        '@lab.post("/ask")\ndef ask(x): return model.predict(x)',
        f"ask({[0.0] * 384})",
    )
    assert difference(session) is None
    shutil.copy(models / "m2.npz", session.root / "m.npz")
    assert "→ model: Model m, content" in str(difference(session))


def test_the_entries_of_a_store_belong_to_the_state(session: Session) -> None:
    session.run(
        'docs = lab.vector_store("docs", dimension=2)\ndocs.add("a", [1, 0], {"n": 1}, "text")',
        '@lab.post("/ask")\ndef ask(v: list[float]): return docs.search(v)',
        "ask([1, 0])",
    )
    assert difference(session) is None
    before = app_state(session.lab, session.names, session.root)
    session.run('docs.add("b", [0, 1])')
    found = state_difference(app_state(session.lab, session.names, session.root), before)
    assert "→ docs: store of 2 entries" in str(found)
    session.close()


def test_a_name_of_the_notebook_is_a_difference(session: Session) -> None:
    session.names["show"] = print
    session.run('@lab.post("/ask")\ndef ask(x=0):\n    return show(1) if x else 1', "ask()")
    here = app_state(session.lab, session.names, session.root)
    del session.names["show"]
    there = app_state(session.lab, session.names, session.root)
    assert "→ show: built-in print here, not defined in the export" in str(
        state_difference(here, there)
    )


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("[1, [2]]", "[True, [2]]", "int 1"),
        ("0.0", "-0.0", "float 0.0"),
        ("[a, a]", "[a, list(a)]", "the same object as"),
        ("{'k': a, 'l': (a,)}", "{'k': a, 'l': (list(a),)}", "the same object as"),
        ("dict(b=1, a=2)", "dict(a=2, b=1)", "str 'b'"),
        ("np.arange(3)", "np.arange(3.0)", "array <i8"),
        ("np.float32(1)", "1.0", "NumPy scalar"),
        ("Path('/tmp/a')", "Path('/tmp/b')", "path /tmp/a"),
    ],
)
def test_values_are_compared_exactly(one: str, other: str, words: str, session: Session) -> None:
    session.run("import numpy as np\nfrom pathlib import Path\na = [1, [2]]")
    session.run('@lab.post("/ask")\ndef ask(): return VALUE is None')
    lines = []
    for text in (one, other, one):
        session.run(f"VALUE = {text}")
        lines.append(app_state(session.lab, session.names, session.root))
    assert words in str(state_difference(lines[0], lines[1]))
    assert state_difference(lines[0], lines[2]) is None


def test_objects_that_refuse_to_be_looked_at_stop_nothing(session: Session) -> None:
    session.run(
        "import threading\n"
        "class Odd:\n    def __getattr__(self, name): return {}\n"
        "    def __reduce_ex__(self, protocol): raise RuntimeError\n"
        "    def __repr__(self): raise RuntimeError\n"
        "odd = [Odd(), threading.Lock(), (n for n in [1])]\nlast = 7",
        '@lab.post("/ask")\ndef ask(): return [odd is None, last]',
    )
    lines = app_state(session.lab, session.names, session.root)
    assert StateLine("POST /ask → ask → last", "int 7") in lines


def test_a_deep_value_needs_no_deep_stack(session: Session) -> None:
    session.run("deep = []\nfor _ in range(5000): deep = [deep, []]")
    session.run('@lab.post("/ask")\ndef ask(): return deep is None')
    assert len(app_state(session.lab, session.names, session.root)) > 5000
