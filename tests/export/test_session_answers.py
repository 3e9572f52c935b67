"""Session answers: computed in order, in a forked copy if calls may change the session."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from conduit_lab import load_model
from conduit_lab.core.errors import ExportError
from conduit_lab.export import session_answers, session_twin
from conduit_lab.export.session_answers import SessionAnswers
from conduit_lab.runtime.sessions import cache
from tests.export.session import Session
from tests.runtime import fake_device

TOPIC = Path(__file__).parents[2] / "data" / "models" / "topic.onnx"

COUNTING = """
import os
import random
import sys
calls, seen = 0, []
generator = random.Random(3)

@lab.post("/ask")
def ask(x: int):
    global calls
    calls += 1
    seen.append(x)
    print("asked", x)
    if x == 13:
        sys.exit("unlucky")
    if x == 14:
        os._exit(3)
    return [calls, seen, generator.random(), random.random()]
"""


@pytest.fixture(autouse=True)
def _no_models_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide sessions that an earlier test left for the collector, some on a fake device."""
    monkeypatch.setattr(session_twin, "sessions", ())


_needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def _answers(session: Session, *numbers: int) -> tuple[list[Any], list[str]]:
    warnings: list[str] = []
    example = session.lab.examples[0]
    with SessionAnswers(session.lab, session.lab.endpoints, warnings) as answers:
        return [
            answers.now(type(example)(**vars(example) | {"payload": {"x": n}})) for n in numbers
        ], warnings


@_needs_fork
def test_calls_of_the_proof_leave_the_session_as_it_was(
    session: Session, capfd: pytest.CaptureFixture[str]
) -> None:
    session.run(COUNTING, "ask(7)")
    names = session.names
    before = names["generator"].getstate(), random.getstate()
    capfd.readouterr()
    found, warnings = _answers(session, 1, 2)
    assert [each[:2] for each in found] == [[2, [7, 1]], [3, [7, 1, 2]]]
    assert (names["calls"], names["seen"]) == (1, [7])
    assert (names["generator"].getstate(), random.getstate()) == before
    assert found[0][2:] == [names["generator"].random(), random.random()]  # as it goes on here
    assert capfd.readouterr().out == ""
    assert warnings == []
    assert len(ask_traces(session)) == 1


def ask_traces(session: Session) -> list[Any]:
    """Return the traces of the endpoint."""
    traces: list[Any] = session.lab.endpoints[0].history
    return traces


@_needs_fork
def test_a_call_that_fails_in_the_copy_says_so(session: Session) -> None:
    session.run(COUNTING, "ask(7)")
    with pytest.raises(ExportError, match="fails in this session now: SystemExit: unlucky"):
        _answers(session, 13)


@_needs_fork
def test_a_lost_copy_is_replaced_by_the_session(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.getpid()
    session.run(COUNTING.replace("== 14", f"== 14 and os.getpid() != {here}"), "ask(7)")
    found, (warning,) = _answers(session, 1, 14)
    assert [each[0] for each in found] == [2, 2]  # the first of them in the copy
    assert warning.startswith("the proof made its calls in this session itself (a forked copy of")
    session.run(
        "import time",
        COUNTING.replace("print(", f"os.getpid() == {here} or time.sleep(99) or print("),
        "ask(7)",
    )
    monkeypatch.setattr(session_twin, "MAX_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(session_twin, "_SLOWNESS", 0)
    found, (warning,) = _answers(session, 1)
    assert found[0][0] == 2
    assert "it did not answer in time" in warning


def test_a_session_that_cannot_be_forked_makes_the_calls_itself(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.run(COUNTING, "ask(7)")
    monkeypatch.setitem(sys.modules, "polars", sys)
    _, (warning,) = _answers(session, 1)
    assert "(polars cannot be used in a forked process)" in warning
    assert session.names["calls"] == 2


def test_a_session_with_a_model_on_a_device_is_not_forked(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_device.plug_in(monkeypatch)
    held = load_model(TOPIC)
    monkeypatch.setattr(session_twin, "sessions", cache.sessions)
    session.run(COUNTING, "ask(7)")
    _, (warning,) = _answers(session, 1)
    assert "(a model holds cuda, which a forked process cannot use)" in warning
    held.unload()


@pytest.mark.parametrize("error", ["ValueError('unlucky')", "SystemExit('unlucky')"])
def test_a_call_that_fails_in_the_session_itself_says_so(
    session: Session, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    session.run(COUNTING.replace('sys.exit("unlucky")', f"raise {error}"), "ask(7)")
    monkeypatch.setattr(session_answers, "why_not_forked", lambda: "this system cannot fork")
    with pytest.raises(ExportError, match=rf"fails in this session now: {error[:10]}.*unlucky"):
        _answers(session, 13)


def test_a_session_whose_calls_change_nothing_is_not_forked(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.run("@lab.post('/ask')\ndef ask(x: int): return x + 1", "ask(7)")
    monkeypatch.setattr(session_answers, "SessionTwin", None)
    assert _answers(session, 1) == ([2], [])
