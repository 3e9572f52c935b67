"""Values in an export: the user's literal, a snapshot, a data file, or the statement again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.forms.value import MAX_INLINE_CHARACTERS
from conduit_lab.export.source_layout import formatted
from tests.export.session import Session, loaded, same


def exported(session: Session, *cells: str, body: str = "repr(V)") -> str:
    """Run the cells, of which one makes `V`, ask for `body`, and return the export's source."""
    session.run(*cells, f"@lab.get('/v')\ndef v():\n    return {body}", "v()")
    return same(session)


def refusal(session: Session, *cells: str) -> str:
    session.run(*cells, "@lab.get('/v')\ndef v():\n    return repr(V)", "v()")
    with pytest.raises(ExportError) as caught:
        session.export()
    return str(caught.value)


# a call of the user's own is not repeated to compare its result
MADE = "def made(value):\n    return value"


@pytest.mark.parametrize(
    "text",
    [
        "V = 3  # pieces",
        "V = 1_000",
        "V = -0.0",
        "V = 1e300",
        "V = True",
        "V = None",
        "V = 'it is'",
        "V = b'\\x00'",
        "V = ()",
        "V = (1, (2, [3, {'a': {4}}]))",
        "V = [[1, 2],\n     [3, 4]]",
        "V = {'a': [1, {'b': (None, 2.5)}]}",
        "V = {1, 2}",
        "V: dict[str, int] = {'a': 1}",
    ],
)
def test_a_literal_that_still_holds_stays_word_for_word(session: Session, text: str) -> None:
    assert f"\n{text}\n" in exported(session, text)


@pytest.mark.parametrize(
    ("made", "changed", "expected"),
    [
        ("V = 3", "V += 1", "V = 4"),
        ("V = [1]", "V[0] = True", "V = [True]"),
        ("V = [1]", "V[0] = 1.0", "V = [1.0]"),
        ("V = [0.0]", "V[0] = -0.0", "V = [-0.0]"),
        ("V = ('a', [1])", "V[1].append(2)", "V = ('a', [1, 2])"),
        ("V = {'a': 1, 'b': 2}", "V['a'] = V.pop('a')", "V = {'b': 2, 'a': 1}"),
        ("V = {'a': {'b': [1]}}", "V['a']['b'][0] = 2", "V = {'a': {'b': [2]}}"),
        ("V = [1, 2]", "V.pop()", "V = [1]"),
        ("V = {1}", "V.add(2)", "V = {1, 2}"),
        ("A = V = 'x'", "A = 'y'", "V = 'x'"),
        ("V, W = 1, 2", "W = 3", "V = 1"),
        ("for V in range(3):\n    pass", "", "V = 2"),
    ],
)
def test_a_changed_value_is_a_snapshot(
    session: Session, made: str, changed: str, expected: str
) -> None:
    source = exported(session, made, changed)
    assert f"{formatted(expected)}  # snapshot of its value at the export\n" in source


def test_two_names_of_one_list_stay_one_list(session: Session) -> None:
    source = exported(session, "V = [1]\nW = V\nX = W", body="[V is W, W is X]")
    assert source.count("[1]") == 1


def test_two_names_without_an_alias_statement_stay_one_list(session: Session) -> None:
    source = exported(session, "V = [1]\nW, X = V, 2", body="[V is W, X]")
    assert session.lab.examples[-1].answer == [True, 2]
    assert source.count("[1]") == 1


def test_equal_lists_stay_two(session: Session) -> None:
    exported(session, "V = [1]\nW = [1]", body="V is W")


def test_a_name_that_is_needed_through_its_alias_is_made_first(session: Session) -> None:
    session.run(
        "V = ['x']\nW = V",
        "def first():\n    return W\ndef second():\n    return V",
        "@lab.get('/v')\ndef v():\n    return [first() is second(), first()]",
        "v()",
    )
    same(session)
    assert session.lab.examples[-1].answer[0] is True


# Data files


@pytest.mark.parametrize(("length", "inline"), [(0, True), (1, False)])
def test_a_value_above_the_bound_is_a_json_file(
    session: Session, length: int, inline: bool
) -> None:
    text = "x" * (MAX_INLINE_CHARACTERS - 2 + length)  # repr adds two quotes
    session.names["made"] = lambda: text
    source = exported(session, "V = made()", body="len(V)")
    assert ("# snapshot" in source) is inline
    assert ("V = json.loads(" in source) is not inline
    assert (session.root / "out/data/V.json").is_file() is not inline


@pytest.mark.parametrize(
    "value",
    [
        "[(i, 1) for i in range(2000)]",
        "{i: 'x' for i in range(2000)}",
        "[b'x' for i in range(2000)]",
        "[*range(2000), {1}]",
    ],
)
def test_a_long_value_that_json_changes_is_a_python_literal(session: Session, value: str) -> None:
    source = exported(session, MADE, f"V = made({value})")
    assert 'V = ast.literal_eval((HERE / "data/V.txt").read_text("utf-8"))' in source


def test_a_long_value_keeps_its_types(session: Session) -> None:
    value = "[[True, 1, 1.0, None, 'ä', {'k': []}] for i in range(500)]"
    exported(session, MADE, f"V = made({value})", body="V")
    assert json.loads((session.root / "out/data/V.json").read_text("utf-8"))[0][:3] == [True, 1, 1]


def test_a_data_file_never_replaces_one_of_the_project(session: Session) -> None:
    (session.root / "data").mkdir()
    (session.root / "data/V.json").write_text("mine", "utf-8")
    session.names["ROOT"] = session.root
    body = "[len(V), FILE.read_text()]"
    exported(session, "FILE = ROOT / 'data/V.json'", MADE, "V = made([0] * 3000)", body=body)
    assert session.lab.examples[-1].answer == [3000, "mine"]


@pytest.mark.parametrize(
    "made",
    [
        "np.arange(6, dtype=np.float16).reshape(2, 3)",
        "np.array(5)",
        "np.array(['a', 'bcd'])",
        "np.zeros((0, 3), np.int8)",
        "np.array([(1, 2.5)], dtype=[('a', 'i4'), ('b', 'f8')])",
        "np.asfortranarray(np.eye(3))",
        "np.array([True, False])",
        "np.array(['2026-01-01'], 'datetime64[D]')",
    ],
)
def test_an_array_is_an_npy_file(session: Session, made: str) -> None:
    body = "[str(V.dtype), V.shape, str(V.tolist())]"
    source = exported(session, "import numpy as np", MADE, f"V = made({made})", body=body)
    assert 'V = np.load(HERE / "data/V.npy")' in source
    saved = np.load(session.root / "out/data/V.npy", allow_pickle=False)
    assert saved.dtype == session.names["V"].dtype


def test_two_names_of_one_array_stay_one(session: Session) -> None:
    source = exported(
        session, "import numpy as np", MADE, "V = made(np.ones(2))\nW = V", body="W is V"
    )
    assert source.count("np.load(") == 1


def test_an_array_that_was_changed_is_the_live_one(session: Session) -> None:
    exported(session, "import numpy as np", "V = np.zeros(2)", "V[1] = 7", body="V")
    assert session.lab.examples[-1].answer == [0, 7]


def test_a_masked_array_keeps_its_mask(session: Session) -> None:
    cells = "V = np.ma.masked_array([1, 2, 3], [False, True, False])"
    exported(session, "import numpy as np", cells, body="int(V.sum())")
    assert session.lab.examples[-1].answer == 4


def test_an_array_of_objects_is_refused(session: Session) -> None:
    message = refusal(session, "import numpy as np", MADE, "V = made(np.array([{}]))")
    assert message == (
        "V has no file form without pickle (GET /v → v → V): use an array of numbers or text"
    )


# Objects that are made again


@pytest.mark.parametrize(
    ("setup", "made", "body"),
    [
        ("import numpy as np", "np.float32(2.5)", "[str(V.dtype), float(V)]"),
        ("", "float('nan')", "repr(V)"),
        ("", "[float('inf'), {'a': float('nan')}]", "repr(V)"),
        ("from collections import Counter", "Counter('aab')", "[type(V).__name__, V['a']]"),
        ("from collections import OrderedDict", "OrderedDict(a=1)", "repr(V)"),
        ("from datetime import date", "date(2026, 1, 2)", "str(V)"),
        ("from decimal import Decimal", "Decimal('0.1')", "str(V + 1)"),
        ("from fractions import Fraction", "Fraction(1, 3)", "str(V)"),
        (
            "from functools import partial\ndef scale(x, by):\n    return x * by",
            "partial(scale, by=3)",
            "V(2)",
        ),
        ("from functools import lru_cache", "lru_cache(len)", "V('abc')"),
        ("", "{'a': lambda x: x + 1}", "V['a'](1)"),
        ("", "lambda x, y=2: x * y", "V(4)"),
        ("def one():\n    return 1\ndef two():\n    return 2", "[one, two]", "[f() for f in V]"),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: str = 'a'",
            "P(1)",
            "repr(V)",
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int",
            "{'p': [P(1), P(2)]}",
            "repr(V)",
        ),
        ("from enum import IntEnum\nclass C(IntEnum):\n    RED = 1", "C.RED", "[V, V.name]"),
        ("import re\nWORD = r'\\w+'", "re.compile(WORD)", "V.findall('a b')"),
        ("import threading", "threading.Lock()", "V.locked()"),
        ("import io", "io.StringIO('x')", "V.getvalue()"),
        ("import itertools", "range(3)", "list(V)"),
        ("from types import SimpleNamespace", "SimpleNamespace(a=1)", "V.a"),
        ("from types import MappingProxyType as Frozen", "Frozen({'a': 1})", "V['a']"),
    ],
)  # fmt: skip
def test_an_object_is_made_again_by_its_statement(
    session: Session, setup: str, made: str, body: str
) -> None:
    assert f"V = {made}" in exported(session, setup, f"V = {made}", body=body)


def test_models_inside_a_container_come_along(session: Session) -> None:
    session.run(
        "V = {'list': 1, 'sign': lab.load_model('models/sign.npz')}",
        "@lab.post('/a')\ndef a(x: list):\n    return V['sign'].predict(x)",
        "a([1, 1])",
    )
    same(session)
    assert (session.root / "out/models/sign.npz").is_file()


@pytest.mark.parametrize(
    "made", ["[lab.load_model('models/sign.npz')]", "(lab.load_model('models/sign.npz'), 1)"]
)
def test_models_inside_a_sequence_come_along(session: Session, made: str) -> None:
    session.run(
        f"V = {made}",
        "@lab.post('/a')\ndef a(x: list):\n    return V[0].predict(x)",
        "a([1, 1])",
    )
    same(session)


@pytest.mark.parametrize(
    ("setup", "made", "kind"),
    [
        ("", "globals()['V'] = object()", "object"),
        ("import threading", "exec('V = threading.Event()')", "Event"),
    ],
)
def test_an_object_that_no_statement_made_is_refused(
    session: Session, setup: str, made: str, kind: str
) -> None:
    assert refusal(session, setup, made) == (
        f"a live {kind} has no file form (GET /v → v → V): create V in a separate statement, "
        "or build it in a function, and call V() in place of V:\n\n"
        "    @lab.resource\n    def V():\n        return …"
    )


def test_a_statement_that_awaits_is_not_repeated(session: Session) -> None:
    session.names["V"] = object()
    session.cells.append("V = await thing()")
    assert "a live object has no file form" in refusal(session)


def test_an_object_with_odd_attributes_is_made_again(session: Session) -> None:
    odd = "class Odd:\n    def __getattr__(self, name):\n        return {}"
    exported(session, odd, "V = Odd()", body="V.anything")


# Secrets


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("API_KEY = 'sk-12345'", "API_KEY"),
        ("password = 'kettle-pan'", "password"),
        ("config = {'db': {'password': 'kettle-pan'}}", "config"),
        ("tokens = ['0123456789']", "tokens"),
        ("settings = {'users': [{'secret': 'kettle-pan'}]}", "settings"),
        ("plain = ('kettle-in-environment',)", "plain"),
    ],
)
def test_a_secret_is_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch, cell: str, name: str
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "kettle-in-environment")
    session.run(cell, f"@lab.get('/v')\ndef v():\n    return len({name})", "v()")
    with pytest.raises(ExportError) as caught:
        session.export()
    assert str(caught.value) == (
        f"{name} looks like a secret (GET /v → v → {name}): "
        "read it with os.environ[...] inside the function"
    )


def test_a_short_text_is_no_secret(session: Session) -> None:
    session.run("token = 'seven77'", "@lab.get('/v')\ndef v():\n    return token", "v()")
    with loaded(session.export().folder) as names:
        assert names["token"] == "seven77"
