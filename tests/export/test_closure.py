"""The closure: an export holds every name that its endpoints need, in order, and no other."""

from __future__ import annotations

import pytest

from conduit_lab.export.closure import Closure
from tests.export.session import Session, same


@pytest.mark.parametrize(
    ("setup", "body"),
    [
        ("K = 3", "K * n"),
        ("def twice(x):\n    return 2 * x\ndef four(x):\n    return twice(twice(x))", "four(n)"),
        (
            "class Box:\n    def __init__(self, x):\n        self.x = x\n"
            "    def get(self):\n        return self.x",
            "Box(n).get()",
        ),
        ("import math as m\nfrom os import path as p", "[m.floor(n), p.join('a', 'b')]"),
        ("import os.path", "os.path.basename('a/b')"),
        (
            "import xml.dom.minidom\nimport xml.etree.ElementTree",
            "[xml.dom.__name__, xml.etree.ElementTree.__name__]",
        ),
        (
            "from typing import Optional, Union\nK: Optional[int] = 4\n"
            "def f(x: Union[int, str]) -> Optional[int]:\n    return K",
            "f(n)",
        ),
        ("def f(x, scale=5):\n    def g(y):\n        return y * scale\n    return g(x)", "f(n)"),
        ("START = 7\ndef f(x, start=START):\n    return x + start", "f(n)"),
        ("import functools\n@functools.lru_cache\ndef f(x):\n    return x + 1", "f(n)"),
        (
            "from contextlib import contextmanager\n@contextmanager\ndef opened(x):\n"
            "    yield x + 1\ndef f(x):\n    with opened(x) as y:\n        return y",
            "f(n)",
        ),
        (
            "import functools\ndef plus(g):\n    @functools.wraps(g)\n    def run(x):\n"
            "        return g(x) + 1\n    return run\n@plus\ndef f(x):\n    return x",
            "f(n)",
        ),
        ("square = lambda x: x * x", "square(n)"),
        ("def f(x):\n    return x\ng = f", "g(n)"),
        ("def f(x):\n    return x if x < 1 else g(x - 1)\ng = f", "f(n)"),
        ("def f(x):\n    return x if x < 1 else g(x - 1)\ndef g(x):\n    return f(x - 1)", "g(n)"),
        ("A = [1]\nB = A\ndef f(x):\n    A.append(x)\n    return B", "len(f(n)) > 1"),
        ("import re\nWORD = re.compile(r'\\w+')", "WORD.findall('a b')"),
        ("from functools import partial\nbase2 = partial(int, base=2)", "base2('101')"),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1", "P(n)"),
        ("from enum import Enum\nclass C(Enum):\n    RED = 1", "C.RED.value"),
        ("class A:\n    x = 1\nclass B(A):\n    pass", "B.x"),
        ("from collections import Counter\ncount = Counter('aab')", "count['a']"),
        (
            "try:\n    import no_such_json as json\nexcept ImportError:\n    import json",
            "json.dumps([n])",
        ),
        (
            "try:\n    import json as fast\nexcept ImportError:\n    import pickle as fast",
            "fast.__name__",
        ),
        ("from math import *", "[floor(2.5), round(pi, 3)]"),
        ("for last in range(4):\n    pass", "last"),
        ("a, b = 1, [2]", "[a, b]"),
        ("from threading import Lock\na, b = Lock(), Lock()", "[a.locked(), b.locked(), a is b]"),
        ("a = 1; import re; b = re.compile('x')", "[a, b.pattern]"),
        ("TEXT = '''one\n\n\n\n\ntwo\n# no comment'''\nNEXT = 1", "[TEXT, NEXT]"),
        ("TEXT = 'a\u2028b\x0cc'\nNEXT = 'n'", "[TEXT, NEXT]"),
        ("id = 5", "id"),
        ("S = {3, 1}\nF = 0.1\nN = None\nB = b'x'\nE = ()", "[sorted(S), F, N, len(B), list(E)]"),
        ("from pathlib import Path\nHERE2 = Path('a') / 'b'", "str(HERE2)"),
        ("names = {'a': 1}\ndef f(x):\n    return [names[k] for k in names if k != x]", "f(n)"),
        (
            "K = 2\nclass C:\n    limit = K\n    def get(self):\n        return self.limit",
            "C().get()",
        ),
        ("K = 2\ndef f(x):\n    def g():\n        return lambda: K\n    return g()()", "f(n)"),
    ],
)  # fmt: skip
def test_an_export_holds_the_names_that_an_endpoint_needs(
    session: Session, setup: str, body: str
) -> None:
    session.run(setup, f"@lab.post('/a')\ndef asked(n: int):\n    return {body}", "asked(2)")
    same(session)


def test_names_that_no_endpoint_reaches_stay_behind(session: Session) -> None:
    session.run("UNUSED = 'nobody'", "@lab.post('/a')\ndef a(n):\n    return n", "a(1)")
    assert "UNUSED" not in same(session)


def test_source_is_kept_word_for_word_with_its_comments(session: Session) -> None:
    cell = (
        "# how much\n# a kettle weighs\nKILOS   =   1.5  # about\n\n"
        "# weighs\n@lab.post('/a')\ndef a(n):\n    # inside\n    return  n*KILOS   # odd spaces\n"
    )
    source = same(session.run(cell, "a(2)"))
    for part in cell.strip().split("\n\n"):
        assert part in source


def test_one_statement_for_several_names_is_written_once(session: Session) -> None:
    session.run(
        "from threading import Lock",
        "first, second = Lock(), Lock()",
        "@lab.post('/a')\ndef a(n):\n    return first is second",
        "a(1)",
    )
    assert same(session).count("first, second = ") == 1


def test_a_second_name_of_the_app_works(session: Session) -> None:
    session.run("desk = lab", "@desk.post('/a')\ndef a(n):\n    return n", "a(1)")
    assert "desk = lab" in same(session)


@pytest.mark.parametrize(
    ("cell", "used"),
    [
        ("first = Counter('aab')\nsecond = first", "second"),
        ("first = Counter('aab')\nsecond = third = first", "third"),
        ("first = Counter('aab')\nsecond = first\nthird = second", "third"),
        ("first = {'a': 2}\nsecond = first\nfirst = {'a': 3}", "second"),
        ("first = second = Counter('aab')", "second"),
    ],
)
def test_an_object_is_made_under_the_name_that_it_had_first(
    session: Session, cell: str, used: str
) -> None:
    session.run(
        "from collections import Counter",
        cell,
        f"@lab.get('/a')\ndef a():\n    return {used}['a']",
        "a()",
    )
    same(session)
    assert session.lab.examples[-1].answer == 2


def test_every_name_of_an_object_is_the_object(session: Session) -> None:
    session.run(
        "A = [1]\nB = A\nC = B",
        "def of_c():\n    return C\ndef of_b():\n    return B",
        "@lab.get('/a')\ndef a():\n    return [of_c() is of_b(), of_b() is A, len(A)]",
        "a()",
    )
    source = same(session)
    assert source.count("= [1]") == 1


def test_pieces_name_their_chain_and_their_order(session: Session) -> None:
    session.run(
        "K = 3\ndef helper(n):\n    return K * n\nalso = helper",
        "@lab.post('/a')\ndef a(n: int):\n    return also(n)",
    )
    closure = Closure(session.lab, session.cells)
    assert [(piece.name, " → ".join(piece.chain)) for piece in closure.pieces] == [
        ("K", "POST /a → a → helper → K"),
        ("helper", "POST /a → a → helper"),
        ("also", "POST /a → a → also"),
        ("a", "POST /a → a"),
    ]


def test_nothing_is_written_before_the_closure_is_whole(session: Session) -> None:
    before = sorted(session.root.rglob("*"))
    session.run(
        "sign = lab.load_model('models/sign.npz')\nWORDS = ['x'] * 3000",
        "@lab.post('/a')\ndef a(x: list):\n    return [sign.predict(x), WORDS[0]]",
    )
    Closure(session.lab, session.cells)
    assert sorted(session.root.rglob("*")) == before
