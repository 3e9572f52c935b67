"""Objects constructed by one call: dates, numbers, collections, callables; in containers too."""

from __future__ import annotations

import logging

import pytest

from conduit_lab.core.errors import ExportError
from tests.export.forms.carried import MADE, carried, refusal, snapshot
from tests.export.session import Session

IMPORTS = """
import functools, logging, operator, re, string
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType, SimpleNamespace
from uuid import UUID
from zoneinfo import ZoneInfo
"""

EXPRESSIONS = [
    "date(2026, 1, 2)",
    'datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)',
    "time(3, 4)",
    "timedelta(days=-1, seconds=2, microseconds=3)",
    "timedelta()",
    "timezone.utc",
    'timezone(timedelta(seconds=3600), "X")',
    'Decimal("1.10")',
    'Decimal("NaN")',
    "Fraction(1, 3)",
    'UUID("00000000-0000-0000-0000-000000000005")',
    "complex(0.0, -0.0)",
    "range(3)",
    "range(1, 9, 2)",
    "slice(1, None, None)",
    "bytearray(b'x')",
    "Ellipsis",
    "NotImplemented",
    'float("-inf")',
    'float("nan")',
    "Counter({'a': 2, 'b': 1})",
    "OrderedDict({'b': 1, 'a': 2})",
    "defaultdict(list, {'a': [1]})",
    "defaultdict(None)",
    "deque([1, 2], maxlen=3)",
    "ChainMap({'a': 1}, {'b': 2})",
    "MappingProxyType({'a': 1})",
    "SimpleNamespace(a=1, b=[2])",
    're.compile("a+", re.IGNORECASE | re.MULTILINE)',
    "re.compile(b'x')",
    "functools.partial(made, value=[1])",
    "functools.partialmethod(made, 1)",
    "operator.itemgetter(1, 2)",
    'operator.attrgetter("a.b")',
    'operator.methodcaller("f", 1, x=2)',
    'logging.getLogger("shop")',
    'string.Template("$a")',
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_object_is_the_call_that_makes_it(session: Session, text: str) -> None:
    source = carried(session, IMPORTS, MADE, f"V = made({text})")
    assert source.endswith(snapshot(f"V = {text}"))


def test_all_of_them_are_written_inside_containers(session: Session) -> None:
    listed = ", ".join(EXPRESSIONS)
    source = carried(session, IMPORTS, MADE, f"V = made([{listed}])")
    assert source.endswith(snapshot(f"V = [{listed}]"))


@pytest.mark.parametrize(
    "cell",
    [
        "V = Decimal('1.10')  # euros",
        "V = {'at': date(2026, 1, 2), 'zone': ZoneInfo('UTC')}",
        "V = Counter('aab')",
        "V = [Fraction(n, 3) for n in range(4)]",
        "V = SimpleNamespace(top=K, rest={'a': [K]})",
        "V = re.compile(rf'\\b{WORD}\\b', re.I)",
        "V = {'lower': str.lower, 'twice': lambda x: 2 * x, 'made': made}",
        "V = max(K, 2)",
        "V = ', '.join([WORD, WORD])",
        "V = ROWS[0]['a']",
    ],
)
def test_a_statement_that_still_gives_the_value_stays(session: Session, cell: str) -> None:
    before = "K = 3\nWORD = 'cat'\nROWS = [{'a': {'b': 1}}]"
    assert carried(session, IMPORTS, MADE, before, cell).endswith(cell)


@pytest.mark.parametrize(
    ("cell", "later", "expected"),
    [
        ("V = Counter()", "for each in 'aab':\n    V[each] += 1", "V = Counter({'a': 2, 'b': 1})"),
        ("V = SimpleNamespace(top=2)", "vars(V).update(top=5)", "V = SimpleNamespace(top=5)"),
        ("V = re.compile(WORD)", "WORD = 'dog'", 'V = re.compile("cat")'),
        ("V = deque(maxlen=2)", "V.extend('abc')", "V = deque(['b', 'c'], maxlen=2)"),
        ("V = defaultdict(int)", "V['a'] += 1", "V = defaultdict(int, {'a': 1})"),
        ("V = [K * 2]", "K = 4", "V = [6]"),
        ("V = Decimal(K)", "K = True", 'V = Decimal("3")'),
        ("V = {'n': K}", "K = 3.0", "V = {'n': 3}"),
        ("V = functools.partial(made, 1)", "V.keywords['x'] = 2", "partial(made, 1, x=2)"),
    ],
)  # fmt: skip
def test_a_statement_that_gives_another_value_is_a_snapshot(
    session: Session, cell: str, later: str, expected: str
) -> None:
    source = carried(session, IMPORTS, MADE, "K = 3\nWORD = 'cat'", cell, later)
    assert source.endswith(snapshot(expected))


def test_what_sets_a_logger_follows_it_and_what_it_wrote_does_not(session: Session) -> None:
    made = 'V = logging.getLogger("shop.deep")'
    source = carried(session, IMPORTS, made, "V.setLevel(10)", "V.debug('a')", body="V.level")
    assert source.endswith("V.setLevel(10)")
    logging.getLogger("shop.deep").setLevel(logging.NOTSET)


def test_a_context_variable_is_its_name_and_default(session: Session) -> None:
    made = "from contextvars import ContextVar\nK = 3\nV = ContextVar('v', default=K)"
    assert carried(session, made, "K = 9", body="V.get()").endswith(
        snapshot('V = ContextVar("v", default=3)')
    )


def test_a_context_variable_that_is_set_is_refused(session: Session) -> None:
    session.run("from contextvars import ContextVar\nV = ContextVar('v')\nW = [V]")
    token = session.names["V"].set(1)
    try:
        session.run("@lab.post('/ask')\ndef ask(): return len(W)", "ask()")
        with pytest.raises(ExportError, match=r"V is set in the notebook's own context.*W → V"):
            session.export()
    finally:
        session.names["V"].reset(token)


def test_names_of_an_import_star_are_imported_again(session: Session) -> None:
    carried(session, "from types import *", MADE, "V = made(MappingProxyType({'a': 1}))")
    source = (session.root / "out" / "app.py").read_text("utf-8")
    assert "from types import MappingProxyType" in source


def test_a_class_whose_name_is_taken_is_imported_under_another(session: Session) -> None:
    setup = "import decimal\nV = decimal.Decimal(str(4))\ndel decimal\ndef Decimal():\n    return 1"
    source = carried(session, setup, body="[V is None, Decimal()]")
    assert 'V = _Decimal("4")' in source


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (
            ("import functools\ndef f(x):\n    return x\nV = functools.partial(f)",
             "def f(x):\n    return -x"),
            "V holds an earlier f (GET /v → v → V): run the cell that makes V again",
        ),
        (
            ("class Tax:\n    pass\nV = [Tax()]", "class Tax:\n    rate = 1"),
            "V holds an earlier Tax (GET /v → v → V): run the cell that makes V again",
        ),
        (
            ("import datetime as d\nV = {'a': {'password': 'kettle-pan'}, 'b': d.date(1, 1, 1)}",),
            "V looks like a secret",
        ),
        (
            ("from types import SimpleNamespace\nV = SimpleNamespace(password='kettle-pan')",
             "V.top = 1"),
            "password looks like a secret",
        ),
    ],
)  # fmt: skip
def test_an_object_of_old_parts_or_secrets_is_refused(
    session: Session, cells: tuple[str, ...], words: str
) -> None:
    assert words in refusal(session, *cells)
