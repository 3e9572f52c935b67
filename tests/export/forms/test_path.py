"""Paths in an export: relative to the exported folder if they are inside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from tests.export.session import Session, same


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ("ROOT / 'notes' / 'table.txt'", 'V = HERE / "notes/table.txt"'),
        ("ROOT / 'nothing-there.txt'", 'V = HERE / "nothing-there.txt"'),
        ("ROOT / 'notes'", 'V = HERE / "notes"'),
        ("Path(ROOT)", "V = HERE"),
        ("Path('notes/table.txt')", 'V = Path("notes/table.txt")'),
        ("Path('/nowhere/at/all')", 'V = Path("/nowhere/at/all")'),
        ("Path('größe') / 'a b'", 'V = Path("größe/a b")'),
    ],
)
def test_a_path_starts_at_the_exported_folder(session: Session, made: str, text: str) -> None:
    (session.root / "notes").mkdir()
    (session.root / "notes/table.txt").write_text("42", "utf-8")
    session.names["ROOT"] = session.root
    session.run(
        f"from pathlib import Path\nV = {made}",
        "@lab.get('/v')\ndef v():\n    return V.suffix",
        "v()",
    )
    source = same(session)
    assert f"\n{text}\n" in source
    assert str(session.root) not in source
    assert (session.root / "out/notes/table.txt").is_file() is ("table.txt" in made)


def test_a_file_of_the_project_is_read_from_its_copy(session: Session) -> None:
    (session.root / "table.txt").write_text("42", "utf-8")
    session.names["ROOT"] = session.root
    session.run(
        "TABLE = ROOT / 'table.txt'\nAGAIN = TABLE",
        "@lab.get('/a')\ndef a():\n    return [TABLE.read_text(), AGAIN is TABLE]",
        "a()",
    )
    same(session)
    assert session.lab.examples[-1].answer == ["42", True]


@pytest.mark.parametrize("name", ["README.md", "app.py", "requirements.txt"])
def test_a_file_in_the_place_of_the_exports_own_is_refused(session: Session, name: str) -> None:
    (session.root / name).write_text("mine", "utf-8")
    session.names["ROOT"] = session.root
    session.run(
        f"FILE = ROOT / '{name}'",
        "@lab.get('/a')\ndef a():\n    return FILE.read_text()",
        "a()",
    )
    with pytest.raises(ExportError) as caught:
        session.export()
    assert str(caught.value) == (
        f"{session.root / name} and another file of the export would both be {name} "
        "(needed by GET /a → a → FILE): rename it"
    )


def test_a_path_that_leads_out_of_the_project_is_no_file_of_it(
    session: Session, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("mine", "utf-8")
    session.run(
        "from pathlib import Path\nV = Path('../secret.txt')",
        "@lab.get('/v')\ndef v():\n    return V.name",
        "v()",
    )
    with pytest.raises(ExportError, match=r"secret.txt is outside the root .* \(needed by GET /v"):
        session.export()
