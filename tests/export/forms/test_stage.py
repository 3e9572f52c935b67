"""Combinators in an export: made of their children, which come first."""

from __future__ import annotations

import pytest

from conduit_lab.core.errors import ExportError
from tests.export.session import Session, same

IMPORTS = "from conduit_lab import Ensemble, Fallback, Function, Parallel, Route, Sequential"
FUNCTIONS = """
def double(x):
    return 2 * x

def increment(x):
    return x + 1

def failing(x):
    raise RuntimeError("out of order")

def parity(x):
    return "odd" if x % 2 else "even"

def total(parts):
    return sum(parts.values() if isinstance(parts, dict) else parts)
"""
ASKED = "@lab.post('/a')\ndef asked(n: int):\n    return pipe(n)"


def exported(session: Session, *cells: str) -> str:
    """Run the cells, of which one makes `pipe`, call it with 3, and return the export's source."""
    session.run(IMPORTS, FUNCTIONS, *cells, ASKED, "asked(3)")
    return same(session)


def answer(session: Session) -> object:
    return session.lab.examples[-1].answer


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("Sequential(double, increment)", 7),
        ("Sequential(double)", 6),
        ("Sequential()", 3),
        ("Sequential(double, increment, name='both')", 7),
        ("Parallel({'twice': double, 'next': increment})", {"twice": 6, "next": 4}),
        ("Parallel({})", {}),
        ("Ensemble([double, increment], total)", 10),
        ("Ensemble([double], combine=total, name='one')", 6),
        ("Fallback(failing, double)", 6),
        ("Fallback(double, failing, name='spare')", 6),
        ("Route(parity, {'odd': double, 'even': increment})", 6),
        ("Route(parity, {'odd': increment, 'even': double}, name='by parity')", 4),
        ("Function(double)", 6),
        ("Function(double, name='x2')", 6),
        ("Sequential(Parallel({'a': double, 'b': Sequential(double, increment)}), total)", 13),
        ("Sequential(Function(double, name='x2'), increment)", 7),
        ("Fallback(Sequential(double, failing), Ensemble([double, double], total))", 12),
    ],
)
def test_each_combinator_answers_the_same(session: Session, made: str, expected: object) -> None:
    source = exported(session, f"pipe = {made}")
    assert answer(session) == expected
    assert source.count("pipe = ") == 1


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ("Sequential( double ,\n    increment )  # twice, and one", None),
        ("Sequential(*[double, increment])", "pipe = Sequential(double, increment)\n"),
        ("Parallel(dict(a=double))", 'pipe = Parallel({"a": double})\n'),
        ("Ensemble((double, increment), total)", "pipe = Ensemble([double, increment], total)\n"),
        ("Function(double, 'double')", "pipe = Function(double)\n"),
        ("Route(parity, stages={'odd': double})", 'pipe = Route(parity, {"odd": double})\n'),
    ],
)
def test_the_users_statement_stays_where_it_says_the_same(
    session: Session, made: str, text: str | None
) -> None:
    assert (text or f"pipe = {made}\n") in exported(session, f"pipe = {made}")


def test_children_come_first_each_once(session: Session) -> None:
    source = exported(
        session,
        "inner = Sequential(double, increment)",
        "pipe = Sequential(Parallel({'a': inner, 'b': inner}), total)",
    )
    places = [source.index(text) for text in ("def double", "inner = ", "pipe = ")]
    assert places == sorted(places)
    assert source.count("inner = Sequential(double, increment)") == 1
    assert "def failing" not in source


def test_a_stage_in_two_combinators_stays_one_object(session: Session) -> None:
    session.run(
        IMPORTS,
        FUNCTIONS,
        "shared = Sequential(double)\nleft = Sequential(shared)\nright = Fallback(shared)",
        "@lab.post('/a')\ndef a(n):\n    return left.stages[0] is right.stages[0]",
        "a(1)",
    )
    same(session)
    assert answer(session) is True


def test_a_second_name_of_a_combinator_is_the_same_object(session: Session) -> None:
    source = exported(session, "first = Sequential(double)\npipe = first", "assert pipe is first")
    assert source.count("Sequential(double)") == 1


def test_stages_that_were_changed_are_the_live_ones(session: Session) -> None:
    source = exported(
        session,
        "pipe = Sequential(double)",
        "pipe.stages = (*pipe.stages, Function(increment)); pipe.name = 'longer'",
    )
    assert answer(session) == 7
    assert 'pipe = Sequential(double, increment, name="longer")' in source


def test_models_of_a_combinator_come_along(session: Session) -> None:
    session.run(
        "sign = lab.load_model('models/sign.npz')",
        IMPORTS,
        "pipe = Fallback(*[lab.load_model('models/sign.npz', labels=['a', 'b']), sign])",
        "@lab.post('/a')\ndef a(x: list):\n    return pipe(x)",
        "a([1, 1])",
    )
    source = same(session)
    assert "Fallback(lab.load_model(\"models/sign.npz\", labels=['a', 'b']), sign)" in source
    assert (session.root / "out/models/sign.npz").is_file()


def test_a_rag_inside_a_combinator_is_written_inside_it(session: Session) -> None:
    session.run(
        "from conduit_lab import Rag, Sequential",
        "notes = lab.vector_store('notes', dimension=2)\nnotes.add('a', [1, 0], {}, 'A kettle.')",
        "class Echo:\n    def generate(self, *, query, context):\n        return str(context)",
        "echo = Echo()\ndef text_of(answer):\n    return answer['response']",
        "pipe = Sequential(Rag(notes, echo, mode='lexical'), text_of)",
        "@lab.post('/a')\ndef a(q: str):\n    return pipe(q)",
        "a('kettle')",
    )
    assert 'Sequential(Rag(notes, echo, mode="lexical"), text_of)' in same(session).replace(
        "'", '"'
    )


def test_an_endpoint_may_be_a_stage(session: Session) -> None:
    session.run(
        IMPORTS,
        FUNCTIONS,
        "@lab.post('/first')\ndef first(n: int):\n    return double(n)",
        "pipe = Sequential(first, increment)",
        ASKED,
        "asked(3); first(1)",
    )
    assert same(session).index("def first") < session.source().index("pipe = ")


def test_a_combinator_that_a_decorator_names_is_exported(session: Session) -> None:
    session.run(
        IMPORTS,
        FUNCTIONS,
        "pipe = Fallback(failing, double)",
        "@lab.ml_endpoint('/a', model=pipe, fallback=increment)\ndef a(data):\n    return data",
        "a(4)",
    )
    same(session)
    assert answer(session) == 8


# Stages without a form


def test_a_lambda_keeps_the_users_statement_and_its_names(session: Session) -> None:
    source = exported(session, "K = 5", "pipe = Sequential(lambda x: x * K, increment)")
    assert "pipe = Sequential(lambda x: x * K, increment)" in source
    assert answer(session) == 16


def test_a_model_beside_a_lambda_comes_along(session: Session) -> None:
    session.run(
        IMPORTS,
        "pipe = Sequential(lab.load_model('models/sign.npz'), lambda p: p.label)",
        "@lab.post('/a')\ndef a(x: list):\n    return pipe(x)",
        "a([1, 1])",
    )
    same(session)
    assert answer(session) == "up"


def test_a_subclass_keeps_the_users_statement(session: Session) -> None:
    source = exported(
        session,
        "class Loud(Sequential):\n    def run(self, value):\n        return -super().run(value)",
        "pipe = Loud(double)",
    )
    assert "pipe = Loud(double)" in source
    assert answer(session) == -6


def test_an_earlier_version_of_a_function_is_refused(session: Session) -> None:
    session.run(
        IMPORTS,
        FUNCTIONS,
        "pipe = Sequential(double, Parallel({'a': increment}))",
        "def increment(x):\n    return x + 100",
        ASKED,
        "asked(3)",
    )
    expected = (
        r"pipe holds an earlier increment \(POST /a → asked → pipe\): "
        "run the cell that makes pipe again"
    )
    with pytest.raises(ExportError, match=expected):
        session.export()


def test_a_combinator_of_a_loop_without_a_form_is_refused(session: Session) -> None:
    session.run(
        IMPORTS, "for k in (2, 3):\n    pipe = Sequential(lambda x: x * k)", ASKED, "asked(3)"
    )
    with pytest.raises(ExportError, match=r"a live Sequential has no file form \(POST /a → asked"):
        session.export()


def test_a_combinator_of_a_loop_of_named_stages_is_rebuilt(session: Session) -> None:
    source = exported(session, "for step in (double, increment):\n    pipe = Sequential(step)")
    assert answer(session) == 4
    assert "pipe = Sequential(increment)" in source


# Imports of the classes


@pytest.mark.parametrize(
    ("imports", "made", "line", "kept"),
    [
        (
            "import conduit_lab as cl",
            "cl.Sequential(double)",
            "import App, Sequential",
            "pipe = Sequential(double)",
        ),
        (
            "from conduit_lab import Sequential as Seq",
            "Seq(double)",
            "import App, Sequential as Seq",
            "pipe = Seq(double)",
        ),
        (
            "import conduit_lab\nclass Sequential:\n    pass",
            "conduit_lab.Sequential(double)",
            "import App, Sequential as _Sequential",
            "pipe = _Sequential(double)",
        ),
    ],
)  # fmt: skip
def test_the_class_is_imported_under_a_free_name(
    session: Session, imports: str, made: str, line: str, kept: str
) -> None:
    session.run(FUNCTIONS, imports, f"pipe = {made}", ASKED, "asked(3)")
    source = same(session)
    assert f"from conduit_lab {line}\n" in source
    assert kept in source
