"""Array views: they share the memory of the array that has a name, as in the session."""

from __future__ import annotations

import numpy as np
import pytest

from tests.export.session import Session, loaded

ASK = "@lab.post('/ask')\ndef ask(): return [len({}), len({})]"


@pytest.mark.parametrize(
    ("cells", "other", "line"),
    [
        ("base = np.arange(6.0)\npart = base[1:3]", "base", "part = base[1:3]"),
        ("base = np.arange(6.0)\npart = base.reshape(2, 3)", "base", "np.ndarray((2, 3)"),
        ("base = np.arange(6.0)\npart = base[::-1]", "base", "part = base[::-1]"),
        ("n = 2\nbase = np.arange(6.0)\npart = base[:n]\nn = 3", "base", "np.ndarray((2,)"),
        ("base = np.arange(6).reshape(2, 3)\npart = base[0]", "base", "part = base[0]"),
        ("base = np.zeros(9000, 'c16')\npart = base[:9]", "base", "part = base[:9]"),
    ],
)
def test_a_view_shares_the_memory(cells: str, other: str, line: str, session: Session) -> None:
    session.run("import numpy as np", cells, ASK.format("part", other), "ask()")
    export = session.export()
    assert line in (export.folder / "app.py").read_text("utf-8")
    with loaded(export.folder) as names:
        part, base = names["part"], names[other]
        assert np.shares_memory(part, base)
        assert np.array_equal(part, session.names["part"])
        part[...] = 7
        session.names["part"][...] = 7
        assert np.array_equal(base, session.names[other])


@pytest.mark.parametrize("second", ["part", "base"])
def test_a_small_part_of_a_large_array_brings_it_only_where_it_is_used(
    second: str, session: Session
) -> None:
    cells = "base = np.zeros(200_000)\npart = base[:9]"
    session.run("import numpy as np", cells, ASK.format("part", second), "ask()")
    export = session.export()
    source = (export.folder / "app.py").read_text("utf-8")
    assert ("base = np.zeros(200_000)" in source) == (second == "base")
    with loaded(export.folder) as names:
        assert np.shares_memory(names["part"], names[second])


def test_an_array_without_a_view_is_a_file(session: Session) -> None:
    session.run("import numpy as np", "a = np.arange(6).reshape(2, 3)", ASK.format("a", "a"))
    session.run("ask()")
    assert "np.load" in session.source()
