"""An endpoint whose outcome depends on more than steps is refused, with the reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.web.program import Untraceable
from conduit_lab.export.web.site import Site
from conduit_lab.export.web.tracer import TracedModels, trace
from tests.export.session import Session

HEAD = """
    import datetime, itertools, json, os, random, time
    import numpy as np
    from conduit_lab import Cached, Ensemble, Fallback, Route, majority_vote
    sign = lab.load_model("models/sign.npz")
    count = {"n": 0}
    seen = [1]
    numbers = itertools.count()
    class Counter:
        n = 0
        def __init__(self):
            self.log = {}
    tally = Counter()
    def add_one():
        count["n"] += 1
        return count["n"]
"""


def reason(session: Session, source: str) -> str:
    session.run(HEAD, source)
    with pytest.raises(Untraceable) as caught:
        trace(session.lab.endpoints[-1], TracedModels())
    assert sys.getprofile() is None
    return caught.value.reason


def reason_of(session: Session, *lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return reason(session, f"@lab.ml_pipeline('/a')\ndef a(data):\n{body}")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("return 1 if data else 2", "branches on"),
        ("return sign(data).label == 'up'", "compares"),
        ("return data['x'] in ('up', 'down')", "compares"),
        ("return {'up': 1}[sign(data).label]", "looks something up"),
        ("return [1, 2][data]", "looks something up"),
        ("return len(data['x'])", "length"),
        ("return [x for x in data['rows']]", "loops over"),
        ("return [*data]", "loops over"),
        ("return {**data}", "uses .keys"),
        ("return f'{data}'", "as text"),
        ("return '%s' % data", "as text"),
        ("return str(data)", "as text"),
        ("return data is None", "`is`"),
        ("return 1 if data.get('x') is not None else 2", "`is`"),
        ("return isinstance(data, dict)", "asks for the type"),
        ("return type(data).__name__", "type()"),
        ("return callable(data)", "callable()"),
        ("return hasattr(data, 'label')", "hasattr()"),
        ("return data['text'].lower()", "uses .lower"),
        ("return data[data['k']]", "by a value known only at request time"),
        ("return data['x'][1:]", "slice"),
        ("return data ** 2", "an operator"),
        ("return np.fft.fft(np.array(data))", "np.fft"),
        ("return np.mean(np.array(data))", "np.mean"),
        ("return np.floor(np.array(data))", "np.floor"),
        ("return np.argmax(np.array(data), axis=1)", "np.argmax with an axis"),
        ("return time.time()", "time.time"),
        ("return datetime.datetime.now().year", "datetime.now"),
        ("return random.random()", "random"),
        ("return np.random.rand()", "the same both times"),
        ("return os.environ.get('HOME')", "get"),
        ("return open('/etc/hostname').read()", "open"),
        ("return np.load('models/sign.npz')['b0']", "load"),
        ("return np.fromfile('/etc/hostname', np.uint8)", "fromfile"),
        ("return json.dumps([1])", "json.dumps"),
        ("return add_one()", "that other requests see"),
        ("seen.append(data); return 1", "that other requests see"),
        ("tally.log['x'] = data; return 1", "that other requests see"),
        ("return next(numbers)", "the same both times"),
        ("print(1)", "print"),
        ("data['x'] = 1; return data", "changes"),
        ("return Cached(sign)(data)", "Cached"),
        ("return Ensemble([sign, sign], majority_vote, min_members=1)(data)", "leaves members out"),
        ("return Fallback(sign, lambda x: x)(data)", "falls back"),
        ("return np.zeros(20_000)", "20,000 numbers"),
        ("return 1 / 0", "raised ZeroDivisionError"),
        ("return {1: data}", "a key of type int"),
        ("return lambda: 1", "function"),
    ],
)
def test_code_that_steps_cannot_say_is_refused(session: Session, code: str, expected: str) -> None:
    assert expected in reason_of(session, *code.split("; "))


def test_a_trace_leaves_the_session_as_it_was(session: Session) -> None:
    reason_of(session, "seen.append(data)", "count['m'] = data", "tally.log[1] = 2", "return 1")
    names = session.names
    assert (names["seen"], names["count"], names["tally"].log) == ([1], {"n": 0}, {})


@pytest.mark.parametrize(
    "code",
    [
        "len(notes)",
        "notes.add('x', [1.0, 2.0], {}) or 1",
        "''.join(t.text for t in writer.stream('a'))",
    ],
)
def test_a_store_and_a_generator_are_refused_even_without_symbols(
    session: Session, code: str
) -> None:
    writer = Path(__file__).parents[3] / "data" / "models" / "writer"
    session.run(
        "notes = lab.vector_store('notes', dimension=2)",
        f"writer = lab.load_model({str(writer)!r})",
    )
    assert "calls notes, a store" in (found := reason_of(session, f"return {code}")) or (
        "calls writer, which generates text" in found
    )
    assert len(session.names["notes"]) == 0


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("try:", "    return data['x']", "except KeyError:", "    return 0"), "`try`"),
        (("match data:", "    case {'x': x}:", "        return x", "return 0"), "`match`"),
        (("tally.n += 1", "return 1"), "changes an attribute"),
        (("global total", "total = 1", "return 1"), "changes a global"),
    ],
)
def test_statements_that_no_symbol_sees_are_refused(
    session: Session, lines: tuple[str, ...], expected: str
) -> None:
    assert expected in reason_of(session, *lines)


def test_a_refusal_that_the_code_catches_stays_one(session: Session) -> None:
    """A helper of a library may catch any error."""
    session.names["quiet"] = lambda call: call()
    source = """
        import contextlib
        @lab.ml_pipeline("/a")
        def a(data):
            return contextlib.suppress(Exception)
    """
    assert "contextlib" in reason(session, source)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("@lab.ml_stream('/s')\ndef s(n: int):\n    yield n", "is a stream"),
        ("@lab.post('/s')\nasync def s(n: int):\n    return n", "is async"),
        ("@lab.post('/s')\ndef s(request):\n    return 1", "takes the request"),
        (
            "from pydantic import BaseModel\nclass M(BaseModel):\n    n: int\n"
            "@lab.post('/s')\ndef s(m: M):\n    return 1",
            "takes m with a type",
        ),
        ("@lab.post('/s')\ndef s(day: datetime.date):\n    return 1", "format"),
        ("@lab.post('/s')\ndef s(n: int | None = None):\n    return n", "anyOf"),
        (
            "notes = lab.vector_store('notes', dimension=2)\n"
            "@lab.post('/s')\ndef s(v: list[float]):\n    return notes.search(v)",
            "calls notes, a store",
        ),
    ],
)
def test_an_endpoint_of_another_kind_is_refused(
    session: Session, source: str, expected: str
) -> None:
    assert expected in reason(session, source)


def test_the_error_names_each_endpoint_the_chain_and_those_that_can_go(session: Session) -> None:
    session.run(
        HEAD,
        """
        route = Route(lambda x: "a", {"a": sign}, name="by length")
        @lab.ml_pipeline("/plain")
        def plain(data):
            return sign(data)
        @lab.ml_pipeline("/routed")
        def routed(data):
            return route(data)
        """,
    )
    with pytest.raises(ExportError) as caught:
        Site.of(session.lab, list(session.lab.endpoints))
    assert str(caught.value) == (
        "POST /routed cannot run in a browser: it calls by length, a Route.\n"
        'Leave it out: lab.export(folder, target="web", endpoints=["/plain"])'
    )
