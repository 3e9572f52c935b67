"""A one-line edit of a session changes few lines of its export."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from tests.export.session import Session

MAX_CHANGED_LINES = 10

RATE = "# dollars per piece\nRATE = 2"
WORDS = "WORDS = {'kettle': 1, 'pan': 2}"
PRICE = 'def price(n):\n    """Return the price of n pieces."""\n    return n * RATE'
ASK = "@lab.post('/price')\ndef ask(n: int):\n    # rounded\n    return [price(n), WORDS]"
TELL = "@lab.post('/sign')\ndef tell(x: list):\n    return sign.predict(x)"
FIND = "@lab.get('/find')\ndef find(word: str):\n    return shelf.search([1, 0])"
CELLS = (
    "sign = lab.load_model('models/sign.npz')",
    "shelf = lab.vector_store('shelf', dimension=2)\nshelf.add('kettle', [1, 0])",
    RATE, WORDS, PRICE, ASK, TELL, FIND, "ask(1)", "ask(3)", "tell([1, 2])", "find('kettle')",
)  # fmt: skip


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        (("# euros per piece\nRATE = 2",), {"app.py"}),
        (("RATE = 3  # dollars per piece", "ask(1)", "ask(3)"), {"app.py", "examples.jsonl"}),
        ((WORDS.replace("'pan': 2", "'pan': 3"), "ask(1)", "ask(3)"), {"app.py", "examples.jsonl"}),
        ((PRICE.replace("of n pieces", "of all"),), {"app.py"}),
        ((PRICE.replace("n * RATE", "n * RATE + 0"),), {"app.py"}),
        ((ASK.replace("rounded", "exact"), "ask(1)", "ask(3)"), {"app.py"}),
        ((ASK, "ask(1)", "ask(3)"), set()),
        ((TELL.replace("(x)", "(x).label"), "tell([1, 2])"), {"app.py", "examples.jsonl"}),
        (("tell([2, 1])",), {"examples.jsonl"}),
        (("ask(1)", "find('kettle')"), set()),
        (("shelf.add('kettle', [0, 1])", "find('kettle')"), {"indexes/shelf.sqlite"}),
    ],
)
def test_a_small_edit_changes_few_lines(
    session: Session, tmp_path: Path, edited: tuple[str, ...], changed: set[str]
) -> None:
    session.run(*CELLS)
    before = session.export().folder.rename(tmp_path / "before")
    session.run(*edited)
    after = session.export().folder
    lines = differing(before, after)
    assert sum(lines.values()) <= MAX_CHANGED_LINES, lines
    assert changed <= lines.keys() <= {*changed, "manifest.json", "README.md", "examples.jsonl"}


def test_two_exports_of_one_session_are_the_same(session: Session, tmp_path: Path) -> None:
    session.run(*CELLS)
    before = session.export().folder.rename(tmp_path / "before")
    assert differing(before, session.export().folder) == {}


def differing(before: Path, after: Path) -> dict[str, int]:
    """Return how many lines of each file differ; a file that is no text counts as one line."""
    found = {}
    files = {path.relative_to(each) for each in (before, after) for path in each.rglob("*")}
    for name in files:
        old, new = before / name, after / name
        if old.is_dir():
            continue
        sides = [place.read_bytes() if place.exists() else b"" for place in (old, new)]
        if sides[0] == sides[1]:
            continue
        if b"\0" in sides[0]:
            found[name.as_posix()] = 1
            continue
        a, b = (side.decode().split("\n") for side in sides)
        diff = [line[0] for line in difflib.ndiff(a, b)]
        found[name.as_posix()] = max(diff.count("+"), diff.count("-"))
    return found


def test_a_small_edit_changes_few_lines_of_a_proof(session: Session, tmp_path: Path) -> None:
    session.run(*CELLS)
    before = session.export(replay=True).folder.rename(tmp_path / "before")
    session.run(PRICE.replace("n * RATE", "n * RATE + 1"), "ask(1)", "ask(3)")
    lines = differing(before, session.export(replay=True).folder)
    assert lines.keys() == {
        "app.py", "examples.jsonl", "state.json", "proof.svg", "manifest.json",
    }  # fmt: skip
    assert sum(lines.values()) <= MAX_CHANGED_LINES, lines
    assert lines["state.json"] == lines["app.py"] == 1
