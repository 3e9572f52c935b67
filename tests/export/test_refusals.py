"""Refusals: each names the object and its chain, and leaves an older export whole."""

from __future__ import annotations

import pytest

from conduit_lab.core.errors import ExportError
from tests.export.session import Session

ENDPOINT = """
@lab.post("/a")
def a(n: int):
    return helper(n)
"""


def refused(session: Session) -> str:
    with pytest.raises(ExportError) as caught:
        session.export()
    assert not (session.root / "out").exists()
    assert [path.name for path in session.root.iterdir() if path.name.startswith(".")] == []
    return str(caught.value)


def test_a_deleted_variable_is_named_with_its_chain(session: Session) -> None:
    session.run("K = 3\ndef helper(n):\n    return K * n", ENDPOINT, "a(2)", "del K")
    assert refused(session) == (
        "K is not defined in this session (needed by POST /a → a → helper): "
        "run the cell that defines it"
    )


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        (
            "def factory(k):\n    def helper(n):\n        return k * n\n    return helper\n"
            "helper = [factory(2)][0]",
            "captures its k",
        ),
        (
            "api_key = 'sk-123456789'\ndef helper(n):\n    return len(api_key)",
            "api_key looks like a secret",
        ),
        (
            "HERE = [1, 2]\ndef helper(n):\n    return HERE",
            "HERE is a name of the exported app.py itself",
        ),
        (
            "globals()['x'] = object()\ndef helper(n):\n    return str(type(x))",
            "a live object has no file form",
        ),
    ],
)
def test_an_object_without_a_form_is_refused(session: Session, setup: str, words: str) -> None:
    session.run(setup, ENDPOINT, "a(2)")
    message = refused(session)
    assert words in message
    assert "POST /a → a → helper" in message


def test_a_function_that_no_cell_defines_is_refused(session: Session) -> None:
    session.run("def helper(n):\n    return n", ENDPOINT, "a(2)")
    session.cells[0] = "def helper(n):\n    return n + 1"
    assert "the live helper differs from every definition in this session" in refused(session)


def test_every_endpoint_needs_a_call(session: Session) -> None:
    session.run("def helper(n):\n    return n", ENDPOINT)
    assert "no recorded call of POST /a (a): call each once" in refused(session)


def test_an_app_without_endpoints_is_nothing_to_export(session: Session) -> None:
    assert "has no endpoints" in refused(session)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_folder_that_is_no_export_is_never_replaced(session: Session, kind: str) -> None:
    session.run("def helper(n):\n    return n", ENDPOINT, "a(2)")
    out = session.root / "out"
    letter = out / "letter.txt" if kind == "folder" else out
    letter.parent.mkdir(exist_ok=True)
    letter.write_text("dear customer")
    with pytest.raises(ExportError, match="got one with other files"):
        session.export()
    assert letter.read_text() == "dear customer"


def test_a_failed_export_leaves_the_older_one_whole(session: Session) -> None:
    session.run("K = 3\ndef helper(n):\n    return K * n", ENDPOINT, "a(2)")
    before = {p.name: p.read_bytes() for p in session.export().folder.iterdir() if p.is_file()}
    session.run("del K")
    with pytest.raises(ExportError, match="K is not defined"):
        session.export()
    assert {
        p.name: p.read_bytes() for p in (session.root / "out").iterdir() if p.is_file()
    } == before


@pytest.mark.parametrize(
    ("setup", "chain"),
    [
        ("def helper(n):\n    return gone + n", ""),
        (
            "def low(n):\n    return gone\ndef mid(n):\n    return low(n)\n"
            "def helper(n):\n    return mid(n)",
            " → mid → low",
        ),
        ("class Box:\n    x = [gone for _ in ()]\ndef helper(n):\n    return Box().x", " → Box"),
        (
            "def deco(f):\n    gone if 0 else 1\n    return f\n@deco\ndef helper(n):\n    return n",
            " → deco",
        ),
        (
            "from functools import partial\ndef low(k, n):\n    return gone\n"
            "helper = partial(low, 1)",
            " → low",
        ),
        (
            "from conduit_lab import Sequential\ndef low(n):\n    return gone\n"
            "helper = Sequential(low)",
            " → low",
        ),
        (
            "def low(n):\n    return gone\nagain = low\ndef helper(n):\n    return again(n)",
            " → low",
        ),
    ],
)
def test_a_missing_name_is_refused_with_the_whole_chain(
    session: Session, setup: str, chain: str
) -> None:
    session.run("gone = 1", setup, ENDPOINT, "a(2)", "del gone")
    assert refused(session) == (
        f"gone is not defined in this session (needed by POST /a → a → helper{chain}): "
        "run the cell that defines it"
    )


@pytest.mark.parametrize("name", ["HERE", "Path", "App", "app"])
def test_a_name_of_the_exported_app_is_refused(session: Session, name: str) -> None:
    session.run(f"{name} = 'kettles'\ndef helper(n):\n    return {name}", ENDPOINT, "a(2)")
    assert refused(session) == (
        f"{name} is a name of the exported app.py itself (needed by POST /a → a → helper): "
        "rename it"
    )


def test_an_object_of_the_notebook_is_refused(session: Session) -> None:
    session.run("def show(n):\n    return n\nshow.__module__ = 'IPython.display'")
    session.run("def helper(n):\n    return show(n)", ENDPOINT, "a(2)")
    assert refused(session) == (
        "show exists only in a notebook (needed by POST /a → a → helper): "
        "leave it out of served code"
    )


def test_a_name_of_the_app_in_the_session_may_be_app(session: Session) -> None:
    session.run("app = lab\ndef helper(n):\n    return app.name", ENDPOINT, "a(2)")
    assert "app = lab" in session.source()


def test_the_path_class_of_the_session_is_the_exports(session: Session) -> None:
    session.run(
        "from pathlib import Path\ndef helper(n):\n    return Path(str(n)).name", ENDPOINT, "a(2)"
    )
    assert session.source().count("import Path") == 1


def test_every_refusal_is_listed_with_its_chain(session: Session) -> None:
    session.run(
        "gone = lost = 1\nclass Box:\n    x = lost",
        "def helper(n):\n    return gone + Box.x",
        ENDPOINT,
        "a(2)",
        "del gone, lost",
    )
    assert refused(session) == (
        "2 objects cannot be exported:\n"
        "1. gone is not defined in this session (needed by POST /a → a → helper): "
        "run the cell that defines it\n"
        "2. lost is not defined in this session (needed by POST /a → a → helper → Box): "
        "run the cell that defines it"
    )


def test_at_most_ten_refusals_are_listed(session: Session) -> None:
    names = [f"gone{number}" for number in range(12)]
    session.run(
        " = ".join(names) + " = 1",
        f"def helper(n):\n    return {' + '.join(names)}",
        ENDPOINT,
        "a(2)",
        f"del {', '.join(names)}",
    )
    lines = refused(session).splitlines()
    assert lines[0] == "12 objects cannot be exported:"
    assert len(lines) == 12
    assert lines[-1] == "and 2 more; lab.export_plan() lists all"
