"""Sessions with one value, `V`: their export must have the same state."""

from __future__ import annotations

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.closure import Closure
from conduit_lab.export.source_layout import formatted
from conduit_lab.export.templates import app_source
from tests.export.session import Session
from tests.export.state.exported import difference_of

# a call of a user's function is never repeated to compare its result: what it returns is written
MADE = "def made(value):\n    return value"
SNAPSHOT = "  # snapshot of its value at the export"


def carried(session: Session, *cells: str, body: str = "V is None") -> str:
    """Run the cells, of which one makes `V`, export, compare the state; return the source of `V`.

    That is everything between the app and its endpoint.
    """
    session.run(*cells, f"@lab.get('/v')\ndef v():\n    return {body}", "v()")
    folder = session.root / "out"
    folder.mkdir()
    closure = Closure(session.lab, session.cells, session.names)
    closure.assets.write(folder)
    source = app_source(session.lab, closure)
    (folder / "app.py").write_text(source, "utf-8")
    assert difference_of(session, folder) is None
    return source.partition("root=HERE)\n")[2].partition("\n@lab.get")[0].strip()


def snapshot(source: str) -> str:
    """Return a statement that an export makes, with its comment, as `app.py` has it."""
    return formatted(source + SNAPSHOT)


def refusal(session: Session, *cells: str) -> str:
    """Run the cells, of which one makes `V`, and return the reason why it is not exported."""
    session.run(*cells, "@lab.get('/v')\ndef v():\n    return V is None", "v()")
    with pytest.raises(ExportError) as caught:
        Closure(session.lab, session.cells, session.names)
    return str(caught.value)
