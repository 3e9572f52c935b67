"""Modules and packages of the project: copied whole; what differs in memory is a difference."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.export.forms.carried import SNAPSHOT, carried
from tests.export.session import Session
from tests.export.state.exported import difference

FILES = {
    "shopkit/__init__.py": "from . import rates\nfrom .rates import RATE\n",
    "shopkit/rates.py": "RATE = 2\nclass Box:\n    def __init__(self, x):\n        self.x = x\n",
    "spacekit/inner.py": "K = 3\n",
    "shoplazy.py": (
        "RATE = 2\ndef _price(n): return n * RATE\n"
        "def __getattr__(name):\n"
        "    if name not in ('price', 'extra'): raise AttributeError(name)\n"
        "    globals()[name] = value = _price if name == 'price' else 4\n"
        "    return value\n"
    ),
    "shopconfig.py": "MAX = 1\nTABLE = {'a': [1]}\n",
}


@pytest.fixture
def project(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    for name, text in FILES.items():
        place = session.root / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(session.root))
    yield session
    for name in list(sys.modules):
        if name.partition(".")[0] in ("shopkit", "spacekit", "shopconfig", "shoplazy"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("cells", "body"),
    [
        (("import shopkit\nV = shopkit.rates",), "V.RATE"),
        (("from shopkit import rates\nV = rates.Box(3)",), "V.x"),
        (("import shopkit\nV = [shopkit, shopkit.rates.Box]",), "V[0].RATE"),
        (("import shopconfig\nV = {'table': shopconfig.TABLE}",), "V['table']"),
        (("import shoplazy\nV = shoplazy.extra",), "[V, shoplazy.price(3)]"),
        (("import shoplazy\nshoplazy.RATE = 3\nV = 1",), "[V, shoplazy.price(3)]"),
    ],
)
def test_a_package_comes_whole(project: Session, cells: tuple[str, ...], body: str) -> None:
    carried(project, *cells, body=body)


def test_a_package_without_init_is_copied(project: Session) -> None:
    carried(project, "import spacekit.inner\nV = 1", body="spacekit.inner.K + V")
    assert (project.root / "out" / "spacekit" / "inner.py").is_file()


def test_a_changed_instance_of_its_class_is_written(project: Session) -> None:
    source = carried(project, "from shopkit import rates\nV = rates.Box(3)", "V.x = 4", body="V.x")
    assert source == f"V = rates.Box.__new__(rates.Box)\nvars(V).update(x=4){SNAPSHOT}"


@pytest.mark.parametrize(
    ("cells", "body"),
    [
        (("import shopconfig", "shopconfig.MAX = 9"), "shopconfig.MAX"),
        (("import shopconfig", "shopconfig.MAX += 9"), "shopconfig.MAX"),
        (("import shopconfig", "shopconfig.TABLE['b'] = 1"), "len(shopconfig.TABLE)"),
        (("import shopkit", "K = 3", "shopkit.rates.RATE = K * 3"), "shopkit.rates.RATE"),
        (("from shopkit import rates", "rates.Box.size = 9"), "rates.Box(1).size"),
        (
            ("import shopconfig, importlib", "shopconfig.MAX = 9", "importlib.reload(shopconfig)"),
            "shopconfig.MAX",
        ),
    ],
)
def test_an_assignment_to_a_module_is_carried(
    project: Session, cells: tuple[str, ...], body: str
) -> None:
    project.run(*cells, f"@lab.get('/v')\ndef v():\n    return {body}", "v()")
    assert difference(project) is None


@pytest.mark.parametrize(
    ("setup", "change", "body", "words"),
    [
        ("import shopconfig", "vars(shopconfig)['MAX'] = 9", "shopconfig.MAX", "MAX: int 9 here"),
        ("import shoplazy", "vars(shoplazy)['extra'] = 5", "shoplazy.extra", "extra: int 5 here"),
        ("import shopconfig", "shopconfig.TABLE.update(b=1)", "len(shopconfig.TABLE)", "TABLE"),
        (
            "import shopkit",
            "for shopkit.rates.RATE in [9]: pass",
            "shopkit.rates.RATE",
            "RATE: int 9 here",
        ),
    ],
)
def test_a_module_changed_in_memory_is_named(
    project: Session, setup: str, change: str, body: str, words: str
) -> None:
    project.run(setup, change, f"@lab.get('/v')\ndef v():\n    return {body}", "v()")
    assert words in str(difference(project))
