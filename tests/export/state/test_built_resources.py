"""A resource that is older than a name that it uses: its object is compared with a new one."""

from __future__ import annotations

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.checks import check_source
from conduit_lab.export.closure import Closure
from conduit_lab.export.state.built_resources import changed_input, compared_resources
from conduit_lab.export.state.compared import app_state
from tests.export.session import Session
from tests.export.state.exported import difference

TABLE = "@lab.resource\ndef table():\n    return {'rate': rate()}"
RATE = "RATE = [2]\ndef rate():\n    return RATE[0]"
ASK = "@lab.post('/ask')\ndef ask(x: int):\n    return x * table()['rate']"


@pytest.fixture
def built(session: Session) -> Session:
    return session.run(RATE, TABLE, ASK, "ask(1)")


@pytest.mark.parametrize(
    "change", ["RATE = [3]", "RATE[0] = 3", "def rate():\n    return 3", "RATE.insert(0, 3)"]
)
def test_an_object_of_an_earlier_input_is_refused(built: Session, change: str) -> None:
    problem = str(difference(built.run(change)))
    assert "table, its built object: dict of str 'rate': int 2 here" in problem
    assert "run table.close(), and call its endpoints again" in problem
    assert difference(built.run("table.close()", "ask(1)")) is None


@pytest.mark.parametrize("change", ["RATE = [2]", "OTHER = 1", "table()['calls'] = 1"])
def test_other_changes_are_none_of_its_inputs(built: Session, change: str) -> None:
    assert difference(built.run(change)) is None
    assert compared_resources(app_state(built.lab, built.names, built.root)) == []


def test_an_object_that_holds_what_calls_change_is_equal(session: Session) -> None:
    session.run("seen = []", "class Worker:\n    def __init__(self):\n        self.items = seen")
    session.run("@lab.resource\ndef worker():\n    return Worker()")
    session.run("@lab.post('/ask')\ndef ask(x: int):\n    worker().items.append(x)\n    return x")
    session.run("ask(1)", "ask(2)")
    assert changed_input(session.names["worker"], session.root) == "seen"
    assert difference(session) is None


def test_a_resource_that_uses_itself_and_another_is_compared_once(session: Session) -> None:
    session.run("K = 1", "@lab.resource\ndef a():\n    return [K, b]")
    session.run("@lab.resource\ndef b():\n    return [K, a]")
    session.run("@lab.post('/ask')\ndef ask(x: int):\n    return len(a() + b())", "ask(1)", "K = 2")
    assert "its built object" in str(difference(session))


def test_the_plan_warns_of_an_older_object(built: Session) -> None:
    built.run("RATE = [3]")
    closure = Closure(built.lab, built.cells, built.names)
    assert any(
        "table was built before RATE changed" in warning and "table.close()" in warning
        for warning in check_source(built.lab, closure)
    )


def test_the_proof_compares_it_with_the_one_of_the_started_app(built: Session) -> None:
    with pytest.raises(ExportError, match=r"int 2 here, .*int 3 in the export.*table\.close"):
        built.run("RATE[0] = 3").export(replay=True)
    assert built.run("table.close()", "ask(1)").export(replay=True).outcomes
