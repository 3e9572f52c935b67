"""The names and statements of a session, in a notebook and in a script."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from conduit_lab import App, Lab, export_app
from conduit_lab.core.errors import ExportError
from conduit_lab.export.namespace import Namespace
from tests.export.session import Session, answers

SCRIPT = """
from pathlib import Path
from conduit_lab import Lab

desk = Lab("desk", root=Path(__file__).parent)
RATE = 3

@desk.post("/a")
def a(n: int):
    return n * RATE
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "kettle_script.py").write_text(SCRIPT, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    import kettle_script  # type: ignore[import-not-found]

    yield kettle_script
    del sys.modules["kettle_script"]


def test_a_script_is_exported_from_its_own_source(script: ModuleType) -> None:
    script.a(2)
    export = export_app(script.desk, "out", examples=script.desk.examples, proof=None)
    source = (export.folder / "app.py").read_text("utf-8")
    assert 'desk = App("desk", root=HERE)' in source
    assert "RATE = 3\n\n\n@desk.post" in source
    assert source.endswith("\napp = desk\n")
    assert answers(export.folder) == [None]


def test_a_session_without_source_is_refused(session: Session) -> None:
    module = ModuleType("kettle_typed")
    sys.modules["kettle_typed"] = module
    session.names["__name__"] = "kettle_typed"
    session.run("@lab.get('/a')\ndef a():\n    return 1")
    try:
        with pytest.raises(ExportError, match="this session has no source"):
            Namespace(session.lab, None, None)
    finally:
        del sys.modules["kettle_typed"]


def test_endpoints_of_two_modules_are_refused(session: Session) -> None:
    session.run("@lab.get('/a')\ndef a():\n    return 1")
    other: dict[str, Any] = {"__name__": "other", "lab": session.lab}
    exec("@lab.get('/b')\ndef b():\n    return 1", other)
    with pytest.raises(ExportError) as caught:
        Namespace(session.lab, [], None)
    assert str(caught.value) == (
        "'desk' expected its endpoints in one module, got cells, other: define them in one"
    )


def test_an_app_without_endpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'bare' has no endpoints: register a function first"):
        Namespace(App("bare", root=tmp_path), [], None)


def test_an_app_that_no_module_holds_is_refused(session: Session) -> None:
    rag = (
        "from conduit_lab import Rag\n"
        "notes = lab.vector_store('notes', dimension=2)\n"
        "class Echo:\n    def generate(self, *, query, context):\n        return query\n"
        "ask = lab.rag('/ask', Rag(notes, Echo(), mode='lexical'))"
    )
    session.run(rag)
    with pytest.raises(ExportError, match=r"no module holds 'desk': assign it to a global name"):
        Namespace(session.lab, [], None)
    module = ModuleType("kettle_holder")
    module.__dict__.update(session.names)
    sys.modules["kettle_holder"] = module
    try:
        assert Namespace(session.lab, [], None).names is vars(module)
    finally:
        del sys.modules["kettle_holder"]


def test_names_that_begin_with_an_underscore_are_the_notebooks(session: Session) -> None:
    session.run("_ = _1 = thing = [1]\nother = thing", "@lab.get('/a')\ndef a():\n    return 1")
    namespace = Namespace(session.lab, session.cells, None)
    assert namespace.names_of(session.names["thing"]) == ["thing", "other"]
    assert namespace.name_of(session.names["thing"]) == "thing"
    assert namespace.name_of([1]) is None


@pytest.mark.parametrize(
    ("name", "origin"), [("a", "a"), ("b", "a"), ("c", "a"), ("d", "d"), ("e", "e"), ("f", "f")]
)
def test_the_origin_of_a_name_is_where_its_object_was_made(
    session: Session, name: str, origin: str
) -> None:
    session.run(
        "a = [1]\nb = a\nc = b\nd = [1]\ne = d\nd = [2]\nf = lab",
        "@lab.get('/a')\ndef a_():\n    return 1",
    )
    expected = "lab" if name == "f" else origin
    assert Namespace(session.lab, session.cells, None).origin(name) == expected


def test_the_notebooks_own_open_counts_as_the_builtin(session: Session) -> None:
    session.run("@lab.get('/a')\ndef a():\n    return 1", "len = max\nprint = print")
    exit_ = type("Exit", (), {"__module__": "IPython.core.autocall"})()
    session.names["exit"] = exit_
    namespace = Namespace(session.lab, session.cells, None)
    builtin = {name: namespace.is_builtin(name) for name in ("open", "exit", "len", "print", "lab")}
    assert builtin == {"open": True, "exit": True, "len": False, "print": True, "lab": False}


def test_the_app_has_the_name_of_its_variable(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "cells", "_hidden": (app := Lab("x", root=tmp_path))}
    exec("@_hidden.get('/a')\ndef a():\n    return 1", names)
    assert Namespace(app, [], None).app_name == "lab"
    names["shop"] = app
    assert Namespace(app, [], None).app_name == "shop"
