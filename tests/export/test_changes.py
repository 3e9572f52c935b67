"""Objects changed after the statement that created them: the changes are replayed too."""

from __future__ import annotations

import pytest

from conduit_lab.core.errors import ExportError
from tests.export.session import Session, same

# its lock has no form, so that no box is written as a value
BOX = """
from threading import Lock

class Box:
    def __init__(self, path="a"):
        self.lock = Lock()
        self.items = [path]
        self.top = 1

    def add(self, item):
        self.items.append(item)
"""


def asked(session: Session, *cells: str, body: str = "[V.items, V.top]") -> str:
    """Return the source of an export in which an endpoint shows `V`."""
    session.run(BOX, *cells, f"@lab.get('/v')\ndef v():\n    return {body}", "v()")
    return same(session)


@pytest.mark.parametrize(
    "changes",
    [
        ["V.top = 5"],
        ["V.items[0] = 'b'"],
        ["V.add('b')"],
        ["V.add('b')", "V.add('b')"],
        ["def fill(box, top):\n    box.top = top", "fill(V, top=5)"],
        ["for letter in 'bcd':\n    V.add(letter)"],
        ["if V.top:\n    V.top += 1\nelse:\n    V = Box()"],
        ["EXTRA = ['x', 'y']", "V.items += EXTRA", "del V.items[0]"],
        ["W = V", "W.add('b')", "V.add('c')"],
        ["def wider(box):\n    box.top += 1\n    return box", "V = wider(V)"],
        ["V.last = V.items.pop()", "V.add(V.last)"],
    ],
)
def test_the_statements_that_changed_an_object_follow_it(
    session: Session, changes: list[str]
) -> None:
    source = asked(session, "V = Box()", *changes)
    places = [source.index(change) for change in ["V = Box()", *changes]]
    assert places == sorted(places)
    last = changes[-1]
    assert source.count(f"\n{last}") == changes.count(last)


def test_an_object_that_was_made_again_has_only_its_own_changes(session: Session) -> None:
    source = asked(session, "V = Box()\nV.add('b')", "V = Box('c')", "V.add('d')")
    assert "'b'" not in source


def test_an_object_is_used_as_it_was_at_that_time(session: Session) -> None:
    source = asked(
        session,
        "V = Box()",
        "class Count:\n    def __init__(self, box):\n        self.lock = Lock()\n"
        "        self.number = len(box.items)",
        "V.add('b')",
        "C = Count(V)",
        "V.add('c')",
        body="[C.number, V.items]",
    )
    assert source.index("V.add('b')") < source.index("C = Count(V)") < source.index("V.add('c')")


def test_calls_that_only_show_an_object_stay_behind(session: Session) -> None:
    source = asked(
        session,
        "V = Box()",
        "print(V)\nlen(V.items)\nV.items",
        "@lab.post('/b')\ndef b(box):\n    return 1",
        "b({'x': V.top})",
    )
    assert "print" not in source
    assert "len(" not in source


def test_the_statement_that_failed_is_no_change(session: Session) -> None:
    session.run(BOX, "V = Box()").fail("V.add('b')\nV.ad('c')\nV.add('d')")
    session.run("@lab.get('/v')\ndef v():\n    return [V.items, V.top]", "v()")
    source = same(session)
    assert "V.add('b')" in source
    assert "V.ad(" not in source
    assert "V.add('d')" not in source


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ("@V.register\ndef _(x: str):\n    return x.upper()", "[V(1), V('a')]"),
        ("@V.register(str)\ndef text(x):\n    return x.upper()", "[V(1), V('a')]"),
        ("V.total = 3", "V.total"),
        ("V.seen = {}\nV.seen['a'] = 1", "V.seen"),
    ],
)
def test_registrations_and_attributes_of_functions_follow(
    session: Session, change: str, body: str
) -> None:
    made = "from functools import singledispatch\n@singledispatch\ndef V(x):\n    return [x]"
    asked(session, made, change, body=body)


def test_a_class_that_was_patched_is_patched_again(session: Session) -> None:
    source = asked(session, "def top(box):\n    return 9", "Box.top9 = top\nV = Box()",
                   body="V.top9()")  # fmt: skip
    assert source.index("Box.top9 = top") < source.index("V = Box()")


def test_a_change_that_cannot_be_exported_is_named(session: Session) -> None:
    session.run(BOX, "V = Box()", "word = 'b'", "V.add(word)", "del word")
    session.run("@lab.get('/v')\ndef v():\n    return V.items", "v()")
    with pytest.raises(ExportError) as caught:
        session.export()
    assert str(caught.value) == (
        "word is not defined in this session "
        "(needed by GET /v → v → V → V.add(word) (cell 5)): run the cell that defines it"
    )


def test_a_change_that_awaits_is_refused(session: Session) -> None:
    session.run(BOX, "V = Box()")
    session.cells.append("await V.load()")
    session.run("@lab.get('/v')\ndef v():\n    return V.items", "v()")
    with pytest.raises(
        ExportError, match=r"V was changed by await V.load\(\) in cell 4, which app"
    ):
        session.export()


def test_a_value_with_a_form_of_its_own_needs_no_changes(session: Session) -> None:
    source = asked(session, "names = ['a']", "names.append('b')", body="names")
    assert "append" not in source
