"""Combinators in an export: constructed from their children, which are written first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

import conduit_lab
from conduit_lab.core.errors import ExportError
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.flow.combinator import Combinator
from tests.export.session import Session, same

IMPORTS = """
from conduit_lab import Cached, Ensemble, Fallback, Function, Parallel, Route, Sequential
from conduit_lab import average, stacking, weighted
"""
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


class Patient(Combinator):
    """A combinator with settings, as this package might have it."""

    def __init__(
        self,
        stage: Any,
        *,
        spare: Any = None,
        retries: int = 0,
        api_key: str = "",
        name: str = "patient",
    ) -> None:
        self.stage = as_stage(stage)
        self.spare = None if spare is None else as_stage(spare)
        self.retries = retries
        self.api_key = api_key
        self.name = name

    @property
    def children(self) -> tuple[Stage, ...]:
        return (self.stage,) if self.spare is None else (self.stage, self.spare)

    def _settings(self) -> dict[str, Any]:
        settings = {"spare": self.spare, "retries": self.retries, "api_key": self.api_key}
        return {key: value for key, value in settings.items() if value}

    def run(self, value: Any) -> Any:
        return self.stage(value)


@dataclass(frozen=True)
class Scaled:
    """A function with settings, as this package might have it."""

    factor: int
    after: Any = None

    def __call__(self, parts: Any) -> Any:
        return self.factor * sum(parts)


@pytest.fixture
def own_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the two classes public names of the package."""
    for kind in (Patient, Scaled):
        monkeypatch.setattr(kind, "__module__", "conduit_lab.flow.of_tests")
        monkeypatch.setattr(conduit_lab, kind.__name__, kind, raising=False)


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
        ("Route(parity, {'even': double}, default=increment)", 4),
        ("Route(parity, {}, default=Fallback(double))", 6),
        ("Fallback(failing, double, retries=1, timeout=30.0)", 6),
        ("Ensemble([double, increment], total, min_members=1)", 10),
        ("Ensemble([double, increment], weighted([1, 3]))", 4.5),
        ("Ensemble([double, increment], average)", 5.0),
        ("Ensemble([double, increment], stacking(total))", 10.0),
        ("Cached(double, bytes=1000)", 6),
        ("Sequential(Cached(Fallback(double, open_after=2)), increment)", 7),
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
    assert 'Fallback(lab.load_model("models/sign.npz", labels=["a", "b"]), sign)' in source
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


# Settings


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ("Patient(double)", "Patient(double)"),
        ("Patient(double, name='p', retries=2)", 'Patient(double, retries=2, name="p")'),
        ("Patient(double, spare=increment)", "Patient(double, spare=increment)"),
        (
            "Sequential(Patient(double, spare=Fallback(failing)), increment)",
            "Sequential(Patient(double, spare=Fallback(failing)), increment)",
        ),
    ],
)
@pytest.mark.usefixtures("own_classes")
def test_settings_are_written_where_they_are_no_defaults(
    session: Session, made: str, text: str
) -> None:
    session.run("from conduit_lab import Patient")
    # of a list, so that no statement makes it by itself
    assert f"pipe = {text}\n" in exported(session, f"pipe = [{made}][0]")


@pytest.mark.usefixtures("own_classes")
def test_a_secret_among_the_settings_is_refused(session: Session) -> None:
    session.run("from conduit_lab import Patient")
    session.run(IMPORTS, FUNCTIONS, "pipe = Patient(double, api_key='sk-3f9a8b7c6d5e4f3a2b1c')")
    session.run(ASKED, "asked(3)")
    with pytest.raises(ExportError, match="api_key= of 'patient' looks like a secret"):
        session.export()


@pytest.mark.usefixtures("own_classes")
def test_a_function_with_settings_is_its_call(session: Session) -> None:
    session.run("from conduit_lab import Scaled")
    source = exported(session, "pipe = [Ensemble([double, increment], Scaled(3, double))][0]")
    assert "pipe = Ensemble([double, increment], Scaled(3, double))\n" in source
    assert answer(session) == 30


@pytest.mark.usefixtures("own_classes")
def test_a_function_with_settings_keeps_its_name_and_the_users_statement(session: Session) -> None:
    session.run("from conduit_lab import Scaled")
    source = exported(session, "thrice = Scaled(3)  # of all", "pipe = Ensemble([double], thrice)")
    assert "thrice = Scaled(3)  # of all\n" in source
    assert "pipe = Ensemble([double], thrice)\n" in source


@pytest.mark.usefixtures("own_classes")
def test_a_setting_without_a_form_keeps_the_users_statement(session: Session) -> None:
    session.run("from conduit_lab import Scaled")
    made = "Ensemble([double], Scaled(3, object()))"
    assert f"pipe = {made}\n" in exported(session, f"pipe = {made}")


def test_a_callable_model_keeps_its_statement(session: Session) -> None:
    source = exported(
        session,
        "from conduit_lab import CallableModel",
        "def share(x):\n    return [0.2, 0.8]",
        "shares = CallableModel(share, labels=['a', 'b'])",
        "pipe = Sequential(shares, lambda p: p.label)",
    )
    assert "labels=['a', 'b']" in source and answer(session) == "b"


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


def test_a_combinator_of_a_loop_without_a_form_is_made_by_the_loop(session: Session) -> None:
    made = "def of(k):\n    return lambda x: x * k"
    loop = "for k in (2, 3):\n    pipe = Sequential(of(k))"
    assert f"\n{loop}\n" in exported(session, made, loop)
    assert answer(session) == 9


def test_a_combinator_of_a_loop_with_a_lambda_is_rebuilt(session: Session) -> None:
    source = exported(session, "for k in (2, 3):\n    pipe = Sequential(lambda x: x * k)")
    assert answer(session) == 9
    assert "k = 3  # snapshot" in source
    assert "pipe = Sequential(lambda x: x * k)" in source


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
            "import App",
            "pipe = cl.Sequential(double)",
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
            "import App",
            "pipe = conduit_lab.Sequential(double)",
        ),
        (
            "class Sequential:\n    pass",
            "__import__('conduit_lab').Sequential(double)",
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
