"""What cannot be exported is refused, with the chain of names that needs it, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

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
            "def factory(k):\n    def helper(n):\n        return k * n\n    return helper\nhelper = factory(2)",
            "holds on to its k",
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
            "for x in [object()]:\n    pass\ndef helper(n):\n    return str(type(x))",
            "a live object has no file form",
        ),
    ],
)
def test_what_has_no_form_is_refused(session: Session, setup: str, words: str) -> None:
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
def test_what_is_not_an_export_is_never_replaced(session: Session, kind: str) -> None:
    session.run("def helper(n):\n    return n", ENDPOINT, "a(2)")
    out = session.root / "out"
    letter = out / "letter.txt" if kind == "folder" else out
    letter.parent.mkdir(exist_ok=True)
    letter.write_text("dear customer")
    with pytest.raises(ExportError, match="holds something that is not an export"):
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


def test_a_model_outside_the_root_is_refused_where_the_source_names_it(
    session: Session, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.npz"
    outside.write_bytes((session.root / "models/sign.npz").read_bytes())
    session.run(f'@lab.ml_endpoint("/m", model="{outside}")\ndef m(x):\n    return x', "m([1, 2])")
    assert "outside the root" in refused(session)
