"""A part of an app: only the chosen endpoints, and what they reach."""

from __future__ import annotations

import json

import pytest

from conduit_lab.core.errors import ExportError, UnknownName
from conduit_lab.export.part import chosen_endpoints
from tests.export.session import Session, answers

CELLS = (
    "FIRST, SECOND = 1, 2",
    "@lab.post('/a')\ndef a(n: int):\n    return n + FIRST",
    "@lab.post('/analyze')\ndef analyze(n: int):\n    return n + SECOND",
    "@lab.get('/a')\ndef shown():\n    return 'a'",
)


def paths(session: Session, *chosen: object) -> list[str]:
    found = chosen_endpoints(session.lab, list(chosen))  # type: ignore[arg-type]
    return [f"{endpoint.method} {endpoint.path}" for endpoint in found]


def test_endpoints_are_chosen_by_path_name_and_function(session: Session) -> None:
    session.run(*CELLS)
    assert paths(session, "/a") == ["POST /a", "GET /a"]
    assert paths(session, "GET /a") == ["GET /a"]
    assert paths(session, "analyze", "/a") == ["POST /a", "POST /analyze", "GET /a"]
    assert paths(session, session.names["analyze"]) == ["POST /analyze"]
    assert chosen_endpoints(session.lab, None) == list(session.lab.endpoints)


def test_both_endpoints_of_a_rag_go_together(session: Session) -> None:
    session.run(
        *CELLS,
        "from conduit_lab import Rag\n"
        "notes = lab.vector_store('notes', dimension=2)\n"
        "class Echo:\n    def generate(self, *, query, context):\n        return query\n"
        "ask = lab.rag('/ask', Rag(notes, Echo(), mode='lexical'))",
    )
    assert paths(session, "/ask") == paths(session, "/ask/stream")
    assert paths(session, "/ask") == ["POST /ask", "POST /ask/stream"]


def test_an_unknown_endpoint_is_an_error_with_the_nearest(session: Session) -> None:
    session.run(*CELLS)
    with pytest.raises(UnknownName, match=r"Did you mean '/analyze'\?"):
        paths(session, "/analize")
    with pytest.raises(UnknownName, match=r"Did you mean 'analyze'\?"):
        paths(session, "analyse")
    with pytest.raises(ExportError, match="a is not an endpoint of 'desk': run its cell again"):
        older = session.names["a"]
        session.run(CELLS[1])
        paths(session, older)
    with pytest.raises(ExportError, match=r"endpoints=\['/a'\]"):
        chosen_endpoints(session.lab, "/a")
    with pytest.raises(ExportError, match="expected paths or decorated functions, got len"):
        paths(session, len)
    with pytest.raises(ExportError, match="expected at least one"):
        paths(session)


def test_only_what_the_chosen_endpoints_reach_is_exported(session: Session) -> None:
    session.run(*CELLS, "a(1)", "analyze(1)")
    export = session.export(endpoints=["/analyze"], replay=True)
    assert [outcome.endpoint for outcome in export.outcomes] == ["POST /analyze"]
    source = (export.folder / "app.py").read_text("utf-8")
    assert "def analyze" in source
    assert "def a(" not in source
    assert "def shown" not in source
    manifest = json.loads((export.folder / "manifest.json").read_text("utf-8"))
    assert manifest["endpoints"] == ["POST /analyze"]
    assert answers(export.folder) == [None]
