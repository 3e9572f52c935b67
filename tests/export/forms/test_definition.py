"""Functions and classes in an export: the statement whose code is the live code."""

from __future__ import annotations

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.closure import Closure
from tests.export.session import Session, same
from tests.export.state.exported import difference


def exported(session: Session, *cells: str, body: str = "f(n)") -> str:
    """Run the cells, ask for `body` with n = 3, and return the export's source."""
    session.run(*cells, f"@lab.post('/a')\ndef a(n: int):\n    return {body}", "a(3)")
    return same(session)


@pytest.mark.parametrize(
    ("live", "newer", "body"),
    [
        ("def f(x):\n    return x", "def f(x):\n    return -x", "f(n)"),
        ("def f(a, b):\n    return a - b", "def f(b, a):\n    return b - a", "f(a=n, b=1)"),
        (
            "def f(a, *, k=1):\n    return a - k",
            "def f(a, k=1):\n    return a - k",
            "[f(n), f.__code__.co_kwonlyargcount]",
        ),
        ("def f(a, /):\n    return a", "def f(a):\n    return a", "f.__code__.co_posonlyargcount"),
        ("def f(*a):\n    return a", "def f(a):\n    return a", "f(n)"),
        ("def f(**a):\n    return a", "def f(a):\n    return a", "f(n=n)"),
        ("def f(x):\n    return [x, 1]", "def f(x):\n    return [x, True]", "f(n)"),
        ("def f(x):\n    return x in (1, 2)", "def f(x):\n    return x in (1, 3)", "f(n)"),
        ("def f(x):\n    return x * 0.0", "def f(x):\n    return x * -0.0", "str(f(n))"),
        ("def f(x):\n    return sum([x])", "def f(x):\n    return max([x, 9])", "f(n)"),
        (
            "def f(x):\n    return (lambda y: y + 1)(x)",
            "def f(x):\n    return (lambda y: y + 2)(x)",
            "f(n)",
        ),
        (
            "def f(x):\n    y = x\n    return lambda: y",
            "def f(x):\n    z = x\n    return lambda: z",
            "f(n).__code__.co_freevars",
        ),
        ("f = lambda x: x + 1", "f = lambda x: x + 2", None),
    ],
)  # fmt: skip
def test_of_several_definitions_the_live_one_is_written(
    session: Session, live: str, newer: str, body: str | None
) -> None:
    if body is None:  # the newest statement of a lambda's name is the only candidate
        session.run(newer, live, "@lab.post('/a')\ndef a(n: int):\n    return f(n)", "a(3)")
        assert live in same(session)
        return
    source = exported(session, live, "kept = f", newer, "f = kept", body=body)
    assert live in source
    assert newer not in source


def test_a_redefined_helper_is_the_newest_one(session: Session) -> None:
    source = exported(session, "def f(x):\n    return x", "def f(x):\n    return -x")
    assert "return -x" in source
    assert "return x\n" not in source


def test_a_class_that_was_run_again_is_the_newest_one(session: Session) -> None:
    source = exported(
        session, "class C:\n    x = 1", "class C:\n    x = 2", body="[C.x, C.__name__]"
    )
    assert "x = 1" not in source


@pytest.mark.parametrize(
    ("setup", "body"),
    [
        ("async def f(x):\n    return x", "__import__('inspect').iscoroutinefunction(f)"),
        ("def f(x):\n    yield from range(x)", "list(f(n))"),
        (
            "def f(x):\n    try:\n        return 1 // (x - 3)\n"
            "    except ZeroDivisionError:\n        return 'zero'",
            "f(n)",
        ),
        ("def f(x):\n    '''Says so.'''\n    return f.__doc__", "f(n)"),
        ("def f(x: 'int') -> 'str':\n    return str(x)", "f(n)"),
        (
            "class C:\n    '''Doc.'''\n    def __init__(self):\n"
            "        super().__init__()\n        self.x = __class__.__name__",
            "C().x",
        ),
        ("import functools\ndef f(x):\n    return x + 1\nf = functools.cache(f)", "f(n)"),
        (
            "import functools\nclass Twice:\n    def __init__(self, g):\n"
            "        functools.update_wrapper(self, g)\n        self.g = g\n"
            "    def __call__(self, x):\n        return 2 * self.g(x)\n@Twice\ndef f(x):\n"
            "    return x",
            "f(n)",
        ),
        ("import datetime\nf = datetime.timedelta", "f(n).days"),
        ("f = len", "f([n])"),
        ("f = str.upper", "f('x')"),
        ("f = ''.join", "f(['a', 'b'])"),
    ],
)  # fmt: skip
def test_each_kind_of_definition_answers_the_same(session: Session, setup: str, body: str) -> None:
    exported(session, setup, body=body)


def test_a_decorated_definition_keeps_its_decorators_and_their_names(session: Session) -> None:
    source = exported(
        session,
        "import functools\nBONUS = 10",
        "def add(k):\n    def around(g):\n        @functools.wraps(g)\n        def run(x):\n"
        "            return g(x) + k\n        return run\n    return around",
        "# adds ten\n@add(BONUS)\n@add(1)\ndef f(x):\n    return x",
    )
    assert "# adds ten\n@add(BONUS)\n@add(1)\ndef f(x):" in source
    assert session.lab.examples[-1].answer == 14


def test_a_plain_definition_of_a_name_is_no_decorated_one(session: Session) -> None:
    session.run(
        "import functools",
        "@functools.cache\ndef f(x):\n    return x",
        "def f(x):\n    return x",
        "f = functools.cache(f)",
    )
    session.cells.pop()
    source = exported(session)
    assert "@functools.cache\ndef f(x):" in source


@pytest.mark.parametrize(
    ("setup", "problem"),
    [
        (
            "def factory(k, j):\n    def f(n):\n        return k * j * n\n    return f\n"
            "f, _ = factory(2, 3), None",
            "f is defined inside another function and captures its j, k (POST /a → a → f): "
            "define it at the top level",
        ),
        (
            "def factory(k):\n    return lambda n: k * n\nf = [factory(2)][0]",
            "f is defined inside another function and captures its k (POST /a → a → f): "
            "define it at the top level",
        ),
        (
            "exec('def f(n):\\n    return n')",
            "f was compiled from text (POST /a → a → f): write its def in a cell",
        ),
        (
            "def f(n):\n    return n\nf.__code__ = (lambda n: -n).__code__",
            "the live f differs from every definition in this session (POST /a → a → f): "
            "run its cell again, without a cell magic",
        ),
    ],
)  # fmt: skip
def test_a_function_without_a_definition_is_refused(
    session: Session, setup: str, problem: str
) -> None:
    session.run(setup, "@lab.post('/a')\ndef a(n: int):\n    return f(n)")
    with pytest.raises(ExportError) as caught:
        Closure(session.lab, session.cells)
    assert str(caught.value) == problem


def test_a_function_under_another_name_alone_keeps_it(session: Session) -> None:
    source = exported(session, "def g(x):\n    return x + 1", "f = g\ndel g")
    assert "def g(x):\n    return x + 1\n\n\nf = g\n" in source


def test_a_name_of_an_earlier_definition_is_refused(session: Session) -> None:
    session.run(
        "def g(x):\n    return x + 1",
        "f = g",
        "def g(x):\n    return x + 2",
        "@lab.post('/a')\ndef a(n: int):\n    return f(n) + g(n)",
    )
    with pytest.raises(ExportError) as caught:
        Closure(session.lab, session.cells)
    assert str(caught.value) == ("f holds an earlier g (POST /a → a → f): rename the newer one")


NAMELESS = {
    "a default factory that counts": (
        "from collections import defaultdict\nV = defaultdict(lambda: len(V))",
        "for word in 'a b a'.split(): V[word]",
    ),
    "lambdas with a default from a loop": (
        "V = []",
        "for n in range(3):\n    V.append(lambda x, n=n, *, by=2: (x + n) * by)",
    ),
    "a lambda whose default is a lambda": (
        "V = []",
        "V.append(lambda x, f=(lambda y: y * 3): f(x))",
    ),
    "a lambda under a name that its first name left": (
        "f = lambda x: x + 1\nV = f",
        "f = lambda x: x + 2",
    ),
    "a lambda in an attribute and a list": (
        "class A: pass\nV = A()",
        "V.f = lambda x: x + 1\nV.kept = [V.f]",
    ),
    "a lambda in a partial": (
        "from functools import partial\nV = []",
        "V.append(partial(lambda a, b: a * b, 3))",
    ),
    "functions defined in a loop": (
        "V = {}",
        "for n in (1, 2):\n    def add(x, n=n):\n        return x + n\n    V[n] = add",
    ),
    "functions that a decorator collects in a loop": (
        "V = {}\ndef keep(name):\n    def of(f):\n        V[name] = f\n        return f\n"
        "    return of",
        "for name in 'ab':\n    @keep(name)\n    def add(x, name=name): return name",
    ),
    "the last function of a loop, with its variable": (
        "for n in (1, 2):\n    def V(x):\n        return x + n",
        "",
    ),
    "the function of a while, with a default": (
        "n = 0\nwhile n < 2:\n    n += 1\n    def V(x, n=n): return x + n",
        "",
    ),
    "properties that setattr adds": (
        "class V:\n    w = 2",
        "for name, f in {'twice': lambda s: 2 * s.w}.items():\n    setattr(V, name, property(f))",
    ),
    "a property that a function adds": (
        "class V: pass\ndef expose(kind, name):\n    setattr(kind, name, property(len))",
        "expose(V, 'size')",
    ),
    "the attributes of a class": ("class A:\n    rate = 3\nV = vars(A)", "A.rate = 4"),
    "the attributes of an object": ("class A: pass\na = A()\nV = vars(a)", "a.rate = 4"),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_code_without_a_statement_of_its_own_is_exported(session: Session, name: str) -> None:
    first, then = NAMELESS[name]
    ask = "@lab.post('/ask')\ndef ask(x: int):\n    return [str(type(V)), x]"
    session.run(first, then, ask, "ask(0)")
    assert difference(session) is None


def test_the_last_function_of_a_loop_stays_the_one_in_the_table(session: Session) -> None:
    session.run("V = {}", NAMELESS["functions defined in a loop"][1])
    session.run("@lab.get('/v')\ndef v():\n    return [V[2] is add, add(1)]", "v()")
    assert difference(session) is None


def test_a_statement_that_binds_two_names_runs_before_the_value_of_one(session: Session) -> None:
    session.run("V, by = [], {}", "for n in (1, 2):\n    V.append(lambda x, n=n: x + n)")
    session.run("for n in (1, 2):\n    def add(x, n=n):\n        return x + n\n    by[n] = add")
    session.run("@lab.get('/v')\ndef v():\n    return [V[0](1), by[2](1)]", "v()")
    assert difference(session) is None
