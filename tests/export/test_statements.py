"""The statements of a session, by the names that they bind."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.export.cell_run import CellRun
from conduit_lab.export.statement import Statement
from conduit_lab.export.statements import Statements


def newest(text: str, name: str = "x") -> Statement:
    statement = Statements([dedent(text)]).newest(name)
    assert statement is not None
    return statement


@given(cell=st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_of_a_cell_can_be_read(cell: str) -> None:
    Statements([cell, "K = 1"])


def test_a_cell_that_never_ran_hides_no_other() -> None:
    statements = Statements(["x = 1", "x = = 2", "y = '\0'"])
    assert statements.newest("x") is not None
    assert statements.newest("y") is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("x = 1", {"x"}),
        ("x = y = 1", {"x", "y"}),
        ("x, (y, *z) = a", {"x", "y", "z"}),
        ("x: int = 1", {"x"}),
        ("x += 1", {"x"}),
        ("def x(): pass", {"x"}),
        ("async def x(): pass", {"x"}),
        ("class x: pass", {"x"}),
        ("import x.y", {"x"}),
        ("import y as x, z", {"x", "z"}),
        ("from y import a as x", {"x"}),
        ("if True:\n    import x\n    y = 1", {"x", "y"}),
        ("with a:\n    from b import x", {"x"}),
        ("for x in []: pass", {"x"}),
        ("with open(a) as x: pass", {"x"}),
        ("print(x := 1)", {"x"}),
        ("y = [x for x in a]", {"y"}),
        ("def y(): x = 1", {"y"}),
        ("class y: x = 1", {"y"}),
        ("y = lambda: (x := 1)", {"y"}),
    ],
)
def test_a_statement_is_known_by_its_names(text: str, names: set[str]) -> None:
    statements = Statements([text])
    assert {name for name in "abxyz" if statements.newest(name)} == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# one\n# two\nx = 1  # three\n", "# one\n# two\nx = 1  # three"),
        ("# apart\n\nx = 1", "x = 1"),
        ("y = 1; x = 2", "x = 2"),
        ("x = 2; y = 1", "x = 2"),
        (
            "# c\n@deco\n@more\ndef x():\n    # in\n    pass\n# after",
            "# c\n@deco\n@more\ndef x():\n    # in\n    pass",
        ),
        ("x = '''a\n# no comment\nb'''", "x = '''a\n# no comment\nb'''"),
        ("if 1:\n    import x", "import x"),
        ("if 1: import x", "import x"),
        ("if 1:\n    # c\n    def x():\n        return 'a'\n", "# c\ndef x():\n    return 'a'"),
        ("if 1:\n    x = \'\'\'a\n    b\'\'\'\n    import x", "import x"),
        ("if 1:\n    def x(s=\'\'\'a\n    b\'\'\'): 1", "def x(s='a\\n    b'):\n    1"),
        ("y = 1\r\nx = 2", "x = 2"),
        ("y = '\x0c\u2028'\nx = 2", "x = 2"),
    ],
)  # fmt: skip
def test_a_text_has_the_comments_right_above_it(text: str, expected: str) -> None:
    assert newest(text).text == expected


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("x = a + b(c)", ["a", "b", "c"]),
        ("def x(p=a):\n    q = b\n    return [c for d in p]", ["a", "b", "c"]),
        ("@deco\ndef x(): return x", ["deco", "x"]),
        ("class x(base):\n    y = 1\n    def f(self): return y", ["base", "y"]),
        ("x = lambda a: a + b", ["b"]),
        ("def x():\n    global g\n    g = 1\n    return g", ["g"]),
        ("def x(a: T) -> U: pass", ["T", "U"]),
        ("x = 1", []),
    ],
)
def test_free_names_are_the_globals_that_it_looks_up(text: str, free: list[str]) -> None:
    assert sorted(newest(text).free_names) == sorted(free)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = f(a, 'b')", True),
        ('x = f( a,"b" )  # same', True),
        ("x: int = f(a, 'b')", True),
        ("x = y = f(a, 'b')", False),
        ("x = f(a, 'c')", False),
        ("x = f(a, b='b')", False),
        ("def x(): pass", False),
        ("import x", False),
    ],
)
def test_a_statement_gives_an_expression_however_it_is_written(text: str, expected: bool) -> None:
    assert newest(text).gives("x", 'f(a, "b")') is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1", True),
        ("x: int = 1", True),
        ("x = y = 1", False),
        ("x += 1", False),
        ("def x(): pass", False),
        ("import x", False),
    ],
)
def test_only_an_assignment_to_one_name_binds_only_that(text: str, expected: bool) -> None:
    assert newest(text).binds_only("x") is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("x = x + 1", True), ("x = f([x])", True), ("x = y", False), ("x += 1", True)],
)
def test_a_statement_may_build_on_the_value_before(text: str, expected: bool) -> None:
    assert newest(text).builds_on("x") is expected


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("def x(a, b): return a - b", "def x(a, b):  return a-b", True),
        ("def x(a, b): return a - b", "def x(b, a): return b - a", False),
        ("def x(a): return a.b", "def x(a): return a.c", False),
        ("def x(a, *, b=1): return a", "def x(a, b=1): return a", False),
        ("def x(a, /): return a", "def x(a): return a", False),
        ("def x(*a): return a", "def x(a): return a", False),
        ("def x(*a): return a", "def x(**a): return a", False),
        ("def x(): return 1", "def x(): return True", False),
        ("def x(): return (1, (2, 0.0))", "def x(): return (1, (2, -0.0))", False),
        ("def x(): return lambda: 1", "def x(): return lambda: 2", False),
        ("def x(a):\n    return lambda: a", "def x(b):\n    return lambda: b", False),
        ("def x():\n    'one'", "def x():\n    'two'", False),
    ],
)
def test_code_is_compared_with_its_names_and_arguments(text: str, other: str, same: bool) -> None:
    space: dict[str, Any] = {}
    exec(text, space)
    assert newest(text).makes(space["x"])
    assert newest(other).makes(space["x"]) is same


def test_a_function_of_another_name_is_another() -> None:
    space: dict[str, Any] = {}
    exec("def y(): return 1", space)
    assert not newest("def x(): return 1").makes(space["y"])


def test_a_decorator_mentions_its_literals() -> None:
    statement = newest("@lab.post('/a', tags=['b'])\ndef x():\n    return '/c'")
    assert [statement.mentions(text) for text in ("/a", "b", "/c")] == [True, True, False]


def test_future_imports_are_collected_from_every_cell() -> None:
    statements = Statements(
        ["from __future__ import annotations", "from __future__ import division, generators\nx = 1"]
    )
    assert statements.futures == {"annotations", "division", "generators"}
    assert statements.newest("annotations") is None


def test_definitions_and_imports_come_newest_first() -> None:
    statements = Statements(
        ["import x\ndef x(): return 1", "class x: pass", "import y as x\nx = 3"]
    )
    assert [s.text for s in statements.definitions("x")] == ["class x: pass", "def x(): return 1"]
    assert [s.text for s in statements.imports("x")] == ["import y as x", "import x"]
    assert statements.definitions("none") == statements.imports("none") == []


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ('df["c"] = 1', False),
        ("df.x = 1", False),
        ("df, other = 1, 2", True),
        ("[df, *rest] = names", True),
        ("names[df] = 1", False),
    ],
)
def test_a_change_of_an_object_does_not_bind_its_name(text: str, bound: bool) -> None:
    assert (Statements([text]).newest("df") is not None) is bound


@pytest.mark.parametrize(
    "text",
    [
        "if True:\n    def f(): return 1\nelse:\n    pass",
        "try:\n    import fast\nexcept ImportError:\n    def f(): return 1",
        "with open('x') as file:\n    if file:\n        class f: pass",
        "get_ipython().run_line_magic('time', 'f = make()')",
    ],
)
def test_definitions_in_blocks_and_magics_are_statements(text: str) -> None:
    found = Statements([text]).newest("f")
    assert found is not None
    assert found.text.startswith(("def f", "class f", "f = "))


def test_other_magics_hold_no_statements() -> None:
    cell = "get_ipython().run_cell_magic('writefile', 'f.py', 'def f(): return 1')"
    assert Statements([cell]).newest("f") is None


def test_the_statements_of_a_failed_cell_end_before_its_line() -> None:
    cell = CellRun(3, "a = 1\nif a:\n    import b\n    c = 1 / 0\nd = 2", stopped_at=4)
    statements = Statements([cell])
    assert {name for name in "abcd" if statements.newest(name)} == {"a", "b"}
    assert statements.newest("a") is not None
    assert {s.cell for s in statements.all} == {3}


@pytest.mark.parametrize(
    ("cells", "maker"),
    [
        (["x = 1", "x += 1"], "x = 1"),
        (["x = 1", "x = f(x)", "x.y = 2"], "x = 1"),
        (["x = 1", "x = 2", "x = x + 1"], "x = 2"),
        (["x = 1", "if a:\n    x = 2"], "x = 1"),
        (["if a:\n    x = 1\nelse:\n    x = 2"], "if a:\n    x = 1\nelse:\n    x = 2"),
        (["x = 0", "for x in a: pass"], "for x in a: pass"),
        (["x = 0", "for y in a: x = y"], "x = 0"),
        (["x = 0", "with a as b: x = b.read()"], "with a as b: x = b.read()"),
        (["x = 0", "with a: x = x + 1"], "x = 0"),
        (["x += 1"], None),
        (["x = f(x)"], None),
        (["y = 1"], None),
    ],
)
def test_the_maker_is_the_statement_before_the_changes(cells: list[str], maker: str | None) -> None:
    found = Statements(cells).maker("x")
    assert (found and found.text) == maker


def test_changes_come_in_the_order_in_which_they_ran() -> None:
    cells = ["x.a = 0", "x = X()", "x.b = 1\ny.c = 2", "x = f(x)", "show(x)", "z = x"]
    statements = Statements(cells)
    made = statements.maker("x")
    assert made is not None
    found = [(s.text, s.cell) for s in statements.changes_since("x", made)]
    assert found == [("x.b = 1", 3), ("x = f(x)", 4)]


@pytest.mark.parametrize(
    ("runs", "order"),
    [
        ([("a = 1", "k1"), ("b = 1", "k2"), ("a = 2", "k1")], "ab"),
        ([("a = 1", "k1"), ("b = 1", "k2"), ("c = 1\na = 2", "k1")], "cab"),
        ([("a = 1", ""), ("b = 1", ""), ("a = 1", "")], "ab"),
        ([("def a(): pass", ""), ("b = 1", ""), ("c = 1\ndef a(): return 1", "")], "cab"),
    ],
)
def test_a_cell_that_ran_again_keeps_its_place(runs: list[tuple[str, str]], order: str) -> None:
    statements = Statements(CellRun(n, text, key=key) for n, (text, key) in enumerate(runs))
    newest = [(name, statements.newest(name)) for name in sorted(order)]
    places = {name: found.place for name, found in newest if found is not None}
    assert "".join(sorted(places, key=places.__getitem__)) == order
