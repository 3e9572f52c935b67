"""What the cells become: readable source that answers the same."""

# a table of one-line sessions
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.export.statements import Statements
from tests.export.conftest import weights
from tests.export.session import Session, answers, loaded
from tests.runtime import graphs


def same(session: Session) -> str:
    """Export, ask the export what was asked in the session, and return its source."""
    export = session.export()
    assert answers(export.folder) == [None] * len(session.lab.examples)
    return (export.folder / "app.py").read_text("utf-8")


@pytest.mark.parametrize(
    ("setup", "body"),
    [
        ("K = 3", "K * n"),
        ("def twice(x):\n    return 2 * x\ndef four(x):\n    return twice(twice(x))", "four(n)"),
        ("class Box:\n    def __init__(self, x):\n        self.x = x\n    def get(self):\n        return self.x", "Box(n).get()"),
        ("import math as m\nfrom os import path as p", "[m.floor(n), p.join('a', 'b')]"),
        ("import os.path", "os.path.basename('a/b')"),
        ("import xml.dom.minidom\nimport xml.etree.ElementTree", "[xml.dom.__name__, xml.etree.ElementTree.__name__]"),
        ("from typing import Optional, Union\nK: Optional[int] = 4\ndef f(x: Union[int, str]) -> Optional[int]:\n    return K", "f(n)"),
        ("def f(x, scale=5):\n    def g(y):\n        return y * scale\n    return g(x)", "f(n)"),
        ("START = 7\ndef f(x, start=START):\n    return x + start", "f(n)"),
        ("import functools\n@functools.lru_cache\ndef f(x):\n    return x + 1", "f(n)"),
        ("from contextlib import contextmanager\n@contextmanager\ndef opened(x):\n    yield x + 1\ndef f(x):\n    with opened(x) as y:\n        return y", "f(n)"),
        ("import functools\ndef plus(g):\n    @functools.wraps(g)\n    def run(x):\n        return g(x) + 1\n    return run\n@plus\ndef f(x):\n    return x", "f(n)"),
        ("square = lambda x: x * x", "square(n)"),
        ("def f(x):\n    return x\ng = f", "g(n)"),
        ("def f(x):\n    return x if x < 1 else g(x - 1)\ng = f", "f(n)"),
        ("A = [1]\nB = A\ndef f(x):\n    A.append(x)\n    return B", "len(f(n)) > 1"),
        ("import re\nWORD = re.compile(r'\\w+')", "WORD.findall('a b')"),
        ("from functools import partial\nbase2 = partial(int, base=2)", "base2('101')"),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1", "P(n)"),
        ("from enum import Enum\nclass C(Enum):\n    RED = 1", "C.RED.value"),
        ("from collections import Counter\ncount = Counter('aab')", "count['a']"),
        ("try:\n    import no_such_json as json\nexcept ImportError:\n    import json", "json.dumps([n])"),
        ("try:\n    import json as fast\nexcept ImportError:\n    import pickle as fast", "fast.__name__"),
        ("from math import *", "[floor(2.5), round(pi, 3)]"),
        ("for last in range(4):\n    pass", "last"),
        ("a, b = 1, [2]", "[a, b]"),
        ("a = 1; import re; b = re.compile('x')", "[a, b.pattern]"),
        ("TEXT = '''one\n\n\n\n\ntwo\n# no comment'''\nNEXT = 1", "[TEXT, NEXT]"),
        ("TEXT = 'a\u2028b\x0cc'\nNEXT = 'n'", "[TEXT, NEXT]"),
        ("id = 5", "id"),
        ("S = {3, 1}\nF = 0.1\nN = None\nB = b'x'\nE = ()", "[sorted(S), F, N, len(B), list(E)]"),
        ("from pathlib import Path\nHERE2 = Path('a') / 'b'", "str(HERE2)"),
    ],
)  # fmt: skip
def test_what_an_endpoint_needs_comes_along(session: Session, setup: str, body: str) -> None:
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


def test_a_changed_value_is_a_snapshot(session: Session) -> None:
    session.run(
        "SEEN = []", "@lab.post('/a')\ndef a(n):\n    return SEEN", "SEEN.append('x')", "a(1)"
    )
    assert "SEEN = ['x']  # snapshot" in same(session)


def test_a_statement_that_still_gives_its_value_is_kept(session: Session) -> None:
    session.run("LIMITS = {'a': 1_000}", "@lab.post('/a')\ndef a(n):\n    return LIMITS", "a(1)")
    assert "LIMITS = {'a': 1_000}\n" in same(session)


def test_a_long_value_is_a_json_file(session: Session) -> None:
    session.run(
        "WORDS = [str(n) * 5 for n in range(2000)]",
        "@lab.post('/a')\ndef a(n: int):\n    return WORDS[n]",
        "a(9)",
    )
    assert "WORDS = json.loads(" in same(session)
    assert (session.root / "out/data/WORDS.json").is_file()


def test_an_array_is_an_npy_file(session: Session) -> None:
    session.run(
        "import numpy as np\nTABLE = np.arange(6, dtype=np.float16).reshape(2, 3)",
        "@lab.post('/a')\ndef a(n: int):\n    return TABLE[n]",
        "a(1)",
    )
    assert "TABLE = numpy.load(" in same(session)
    assert np.load(session.root / "out/data/TABLE.npy").dtype == np.float16


def test_a_file_named_by_a_path_below_the_root_is_copied(session: Session) -> None:
    (session.root / "table.txt").write_text("42", "utf-8")
    session.names["ROOT"] = session.root
    session.run(
        "TABLE = ROOT / 'table.txt'",
        "@lab.post('/a')\ndef a(n):\n    return TABLE.read_text()",
        "a(1)",
    )
    assert 'TABLE = HERE / "table.txt"' in same(session)
    assert str(session.root) not in (session.root / "out/app.py").read_text("utf-8")


def test_a_redefined_helper_is_the_live_one(session: Session) -> None:
    session.run(
        "def f(x):\n    return x",
        "def f(x):\n    return -x",
        "@lab.post('/a')\ndef a(n: int):\n    return f(n)",
        "a(2)",
    )
    assert "return -x" in same(session)


def test_an_endpoint_that_calls_another_brings_it(session: Session) -> None:
    session.run(
        "@lab.post('/b')\ndef b(n: int):\n    return n + 1",
        "@lab.post('/a')\ndef a(n: int):\n    return b(n) * 2",
        "a(2); b(1)",
    )
    assert same(session).count("@lab.post('/b')") == 1


def test_one_function_at_two_paths_is_written_for_each(session: Session) -> None:
    session.run(
        "@lab.post('/a')\ndef a(n):\n    return n",
        "a(1)",
        "@lab.post('/b')\ndef a(n):\n    return n",
        "a(1)",
    )
    source = same(session)
    assert source.count("@lab.post('/a')") == source.count("@lab.post('/b')") == 1


def test_a_second_name_of_the_app_works(session: Session) -> None:
    session.run("desk = lab", "@desk.post('/a')\ndef a(n):\n    return n", "a(1)")
    assert "desk = lab" in same(session)


def test_path_parameters_and_queries_are_recorded_and_asked_again(session: Session) -> None:
    session.run(
        "@lab.get('/items/{number}')\ndef item(number: int, exact: bool = False):\n    return [number, exact]",
        "@lab.post('/shelves/{shelf}')\ndef put(shelf: str, value):\n    return [shelf, value]",
        "item(7); item(8, exact=True); put('top left', [1]); put('x', None)",
    )
    same(session)
    assert "/items/8?exact=True" in (session.root / "out/README.md").read_text("utf-8")


# Resources


def test_models_are_copied_to_the_same_place(session: Session) -> None:
    session.run(
        "sign = lab.load_model('models/sign.npz', name='the sign')",
        "@lab.ml_pipeline('/a')\ndef a(data):\n    return sign.predict(data['x'])",
        "@lab.ml_endpoint('/b', model='none.npz', fallback='models/sign.npz')\ndef b(data):\n    return data",
        "a({'x': [1, 1]}); b([-1, -1])",
    )
    source = same(session)
    assert 'sign = lab.load_model("models/sign.npz", name="the sign")' in source
    here, there = session.root / "models/sign.npz", session.root / "out/models/sign.npz"
    assert here.read_bytes() == there.read_bytes()


def test_options_of_a_model_are_exported(session: Session) -> None:
    session.run(
        "sign = lab.load_model('models/sign.npz', device='cpu', fallback=True, timeout=2.5, labels=['no', 'yes'])",
        "@lab.post('/a')\ndef a(x: list):\n    return sign.predict(x)",
        "a([1, 1])",
    )
    wanted = "sign = lab.load_model(\"models/sign.npz\", device=\"cpu\", fallback=True, timeout=2.5, labels=['no', 'yes'])"
    assert wanted in same(session)


def test_a_model_that_is_a_function_is_exported_with_it(session: Session) -> None:
    session.run(
        "def sign_of(x):\n    return [0.1, 0.9] if sum(x) > 0 else [0.8, 0.2]",
        "sign = lab.load_model(sign_of, labels=['no', 'yes'])",
        "@lab.post('/a')\ndef a(x: list):\n    return sign.predict(x)",
        "a([1, 1]); a([-1, 0])",
    )
    assert "sign = lab.load_model(sign_of, labels=['no', 'yes'])" in same(session)


def test_external_data_comes_along_whatever_it_is_called(session: Session, tmp_path: Path) -> None:
    for place, value in (("x", 1), ("y", 2)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "weights.bin").write_bytes(np.full((3, 2), value, np.float32).tobytes())
        graphs.with_external_data(tmp_path / place / f"{place}.onnx", "weights.bin")
    session.names |= {"X": tmp_path / "x/x.onnx", "Y": tmp_path / "y/y.onnx"}
    session.run(
        "x = lab.load_model(X); y = lab.load_model(Y)",
        "@lab.post('/a')\ndef a(v: list):\n    return [x.predict(v), y.predict(v)]",
        "a([1, 1, 1])",
    )
    same(session)
    assert session.lab.examples[-1].answer == [[3, 3], [6, 6]]


def test_importing_the_exported_app_opens_nothing(session: Session) -> None:
    session.run(
        "store = lab.vector_store('notes', dimension=2)\nstore.add('a', [1, 0])\nsign = lab.load_model('models/sign.npz')",
        "@lab.post('/a')\ndef a(x: list):\n    return [len(store), sign.predict(x)]",
        "a([1, 1])",
    )
    folder = session.export().folder
    with loaded(folder) as names:
        assert "not opened" in repr(names["sign"])
        assert "not opened" in repr(names["store"])


def test_a_model_loaded_inside_a_call_is_copied(session: Session) -> None:
    session.run(
        "from conduit_lab import load_model",
        "@lab.post('/a')\ndef a(x: list):\n    return load_model('models/sign.npz').predict(x)",
        "a([1, 1])",
    )
    same(session)


def test_models_in_a_container_are_copied(session: Session) -> None:
    session.run(
        "signs = {'a': lab.load_model('models/sign.npz')}",
        "@lab.post('/a')\ndef a(x: list):\n    return signs['a'].predict(x)",
        "a([1, 1])",
    )
    same(session)


def test_models_from_outside_the_root_never_share_a_file(session: Session, tmp_path: Path) -> None:
    for place, labels in (("x", ["up", "down"]), ("y", ["yes", "no"])):
        (tmp_path / place).mkdir()
        weights(tmp_path / place / "sign.npz", labels)
    session.names |= {"X": tmp_path / "x/sign.npz"}
    session.run(
        "x = lab.load_model(X)",
        "y = lab.load_model('../y/sign.npz')",
        "@lab.post('/a')\ndef a(v: list):\n    return [x.predict(v), y.predict(v)]",
        "a([1, 1])",
    )
    same(session)
    outside = {path for path in session.root.parent.rglob("*") if path.is_file()}
    assert {path.parts[len(session.root.parent.parts)] for path in outside} == {"project", "x", "y"}


@pytest.mark.parametrize(
    "kind", ["VectorStore(dimension=2)", "lab.vector_store('notes', dimension=2)"]
)
@pytest.mark.parametrize("name", ["store", "_käse"])
def test_a_store_finds_the_same_after_the_export(session: Session, kind: str, name: str) -> None:
    session.run(
        f"from conduit_lab import VectorStore\n{name} = {kind}",
        f"for i in range(20):\n    {name}.add(f'n{{i}}', [i, 20 - i], {{'even': i % 2 == 0}}, f'text {{i}}')",
        f"@lab.post('/a')\ndef a(q: list):\n    return {name}.search(q, top_k=5, where={{'even': True}})",
        "a([1.0, 2.0])",
    )
    same(session)


def test_two_names_of_one_store_stay_one_store(session: Session) -> None:
    session.run(
        "from conduit_lab import VectorStore\nstore = VectorStore(dimension=2)\nsame_store = store",
        "@lab.post('/a')\ndef a(q: list):\n    return store is same_store",
        "a([1.0, 2.0])",
    )
    same(session)


# Modules


def test_a_module_of_the_project_is_copied_with_what_it_imports(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session.root / "kettles_a.py").write_text(
        "import kettles_b\nimport httpx\nPRICE = kettles_b.PRICE\n", "utf-8"
    )
    (session.root / "kettles_b.py").write_text("PRICE = 20\n", "utf-8")
    monkeypatch.syspath_prepend(str(session.root))
    for name in ("kettles_a", "kettles_b"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    session.run(
        "import kettles_a as k", "@lab.post('/a')\ndef a(n: int):\n    return n * k.PRICE", "a(2)"
    )
    folder = session.export().folder
    assert "import kettles_a as k" in (folder / "app.py").read_text("utf-8")
    assert (folder / "kettles_b.py").is_file()
    assert "\nhttpx==" in (folder / "requirements.txt").read_text("utf-8")
    for name in ("kettles_a", "kettles_b"):
        monkeypatch.delitem(sys.modules, name)


def test_requirements_pin_what_is_imported_even_inside_a_function(session: Session) -> None:
    session.run("@lab.post('/a')\ndef a(n):\n    import orjson, hypothesis\n    return n", "a(1)")
    lines = (session.export().folder / "requirements.txt").read_text("utf-8").splitlines()
    import hypothesis

    assert f"hypothesis=={hypothesis.__version__}" in lines
    assert lines[0].startswith("./lib/conduit_lab-")


# Names from user text


@given(name=st.text(max_size=12))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_name_of_an_app_gives_source_that_runs(tmp_path: Path, name: str) -> None:
    from conduit_lab import App
    from conduit_lab.export.closure import Closure
    from conduit_lab.export.templates import app_source, readme

    names: dict[str, object] = {"__name__": "cells", "lab": (app := App(name, root=tmp_path))}
    cell = "@lab.get('/a')\ndef a():\n    return 1\n"
    exec(cell, names)
    source = app_source(app, Closure(app, [cell]))
    made: dict[str, object] = {"__file__": str(tmp_path / "app.py"), "__name__": "exported"}
    exec(compile(source.encode("utf-8"), "app.py", "exec"), made)
    assert made["app"].name == name  # type: ignore[attr-defined]
    assert readme(app, []).splitlines()[0].startswith("#")


@given(cell=st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_of_a_cell_can_be_read(cell: str) -> None:
    Statements([cell, "K = 1"])
