"""A resource in an export: its definition; the object is built there again, at the first call."""

from __future__ import annotations

from conduit_lab import App
from tests.export.forms.carried import carried
from tests.export.session import Session, loaded, same

POOL = """
# one connection per process
@lab.resource
def V():
    db = sqlite3.connect(":memory:", check_same_thread=False)
    yield db
    db.close()
"""


def test_a_resource_is_exported_by_its_definition(session: Session) -> None:
    source = carried(session, "import sqlite3", POOL, body="V().execute('select 1').fetchone()")
    assert source == POOL.strip()
    session.lab.resources.close()


def test_importing_the_export_builds_nothing_and_calls_answer(session: Session) -> None:
    ask = "@lab.get('/v')\ndef v():\n    return V().execute('select 1').fetchone()"
    session.run("import sqlite3", POOL, ask, "v()")
    same(session)
    with loaded(session.root / "out") as names:
        app = names["app"]
        assert isinstance(app, App)
        assert not names["V"].is_built
    session.lab.resources.close()


def test_the_newest_cell_of_a_resource_is_the_exported_one(session: Session) -> None:
    cells = ("@lab.resource\ndef V():\n    return [1]", "@lab.resource\ndef V():\n    return [2]")
    assert "return [2]" in carried(session, *cells, body="V()")


def test_what_was_built_is_not_compared(session: Session) -> None:
    carried(session, "@lab.resource\ndef V():\n    return []", "V().append(1)", body="len(V())")
