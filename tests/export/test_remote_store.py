"""An app whose store lives on a server: one line says where, and no proof writes there."""

from __future__ import annotations

import json

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.vectors.store import VectorStore
from tests.export.session import Session

CELLS = """
@lab.post("/search")
def search(query: list[float]):
    return {"ids": [hit.id for hit in notes.search(query, top_k=2)]}

@lab.post("/add")
def add(id: str):
    notes.add(id, [1, 1])
    return {"added": id}
"""


def store_of(session: Session, url: str) -> VectorStore:
    """Run the cells over a store at `url`, with two entries."""
    session.run(f"notes = lab.vector_store('notes', dimension=2, metric='l2', url={url!r})", CELLS)
    store: VectorStore = session.names["notes"]
    store.add_many(["near", "far"], [[1, 0], [9, 0]])
    return store


def test_an_export_asks_the_same_server_and_writes_nothing_there(
    session: Session, postgres: str
) -> None:
    base, _, query = postgres.partition("?")
    store = store_of(session, f"{base.replace(':@', '@')}/exported?{query}")
    session.run("search([1, 0]), add('new')")
    store.delete("new")
    export = session.export(replay=True)
    assert [outcome.example.path for outcome in export.outcomes] == ["/search"]
    assert [entry.id for entry in store] == ["near", "far"]
    source = (export.folder / "app.py").read_text("utf-8")
    assert '"notes",dimension=2,metric="l2",url="postgresql://' in "".join(source.split())
    assert not list(export.folder.glob("indexes/*"))
    needed = (export.folder / "requirements.txt").read_text("utf-8")
    assert "psycopg==" in needed
    assert "psycopg-binary==" in needed


def test_a_call_that_writes_to_a_server_is_marked(session: Session) -> None:
    store_of(session, "qdrant://:memory:/notes")
    session.run("search([1, 0]), add('new')")
    assert [(e.path, e.writes, e.shared) for e in session.lab.examples] == [
        ("/search", False, False),
        ("/add", True, True),
    ]
    lines = (session.export().folder / "examples.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["shared"] for line in lines] == [False, True]


def test_a_password_is_not_exported(session: Session, postgres: str) -> None:
    base, _, query = postgres.partition("?")
    store_of(session, f"{base.replace('postgres:@', 'postgres:secret@')}/refused?{query}")
    session.run("search([1, 0]), add('new')")
    with pytest.raises(
        ExportError, match=r"the store's URL contains a password .* set PGPASSWORD"
    ) as refused:
        session.export()
    assert "secret" not in str(refused.value)


def test_a_metric_is_exported(session: Session) -> None:
    session.run("notes = lab.vector_store('notes', dimension=2, metric='dot')", CELLS)
    session.run("notes.add('a', [1, 0])", "search([1, 0]), add('new')")
    assert 'notes = lab.vector_store("notes", dimension=2, metric="dot")' in session.source()
