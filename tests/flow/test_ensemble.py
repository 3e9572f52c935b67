"""Ensemble: members that fail, hang or return NaN, and combine functions that return nonsense."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import (
    CompositionError,
    DeadlineExceeded,
    InputError,
    ModelRunError,
    Overloaded,
)
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.trace import recorder
from conduit_lab.flow.averages import average, maximum, weighted
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.stacking import stacking
from conduit_lab.flow.votes import majority_vote
from conduit_lab.models.prediction import Prediction, Predictions

Run = Callable[[Stage, Any], Any]

SHORT = 0.05  # seconds until a hanging member is left out


def vote(**probabilities: float) -> Prediction:
    return Prediction.from_array(np.array(list(probabilities.values())), list(probabilities))


def fail(value: Any) -> Any:
    raise RuntimeError("no power")


def refuse(value: Any) -> Any:
    raise InputError("no such kettle")


def nan(value: Any) -> Any:
    return Prediction("a", np.nan, {"a": np.nan})


def a(value: Any) -> Prediction:
    return vote(a=0.75, b=0.25)


def b(value: Any) -> Prediction:
    return vote(a=0.0, b=1.0)


@pytest.fixture
def hang() -> Iterator[Callable[[Any], Any]]:
    """A function that returns once the test has ended."""
    end = threading.Event()
    before = threading.active_count()

    def hang(value: Any) -> Any:
        end.wait(20)
        return value

    yield hang
    end.set()
    for _ in range(500):
        if threading.active_count() <= before:
            break
        time.sleep(0.01)


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Call a stage, or await it in an event loop."""

    async def acall(stage: Stage, value: Any) -> Any:
        return await stage.acall(value)

    if request.param == "sync":
        return lambda stage, value: stage(value)
    return lambda stage, value: asyncio.run(acall(stage, value))


def test_the_answer_keeps_its_members_by_unique_names(run: Run) -> None:
    got = run(Ensemble([a, b, a, Function(b, "a (2)")], majority_vote), 1)
    assert got.label == "b"
    assert got.members == {"a": a(1), "b": b(1), "a (2)": a(1), "a (2) (2)": b(1)}
    assert got.agreement == 0.5
    assert got.left_out == {}


def test_batch_answers_each_value() -> None:
    ensemble = Ensemble([lambda value: vote(a=value, b=1 - value)] * 2, average)
    assert [got.label for got in ensemble.batch([0.25, 0.75])] == ["b", "a"]


def test_a_batch_of_rows_gives_predictions(run: Run) -> None:
    def model(rows: Any) -> Any:
        return Predictions(rows, ["a", "b"])

    got = run(Ensemble([model, model], average), np.array([[0.25, 0.75], [1.0, 0.0]]))
    assert [row.label for row in got] == ["b", "a"]
    assert got.agreement.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("failing", [fail, nan])
def test_without_min_members_a_failure_is_raised_as_it_is(run: Run, failing: Any) -> None:
    with pytest.raises(ModelRunError if failing is nan else RuntimeError):
        run(Ensemble([a, failing], majority_vote), 1)


@pytest.mark.parametrize(
    ("failing", "reason"), [(fail, "RuntimeError: no power"), (nan, "returned NaN")]
)
def test_a_failing_member_is_left_out_and_named(
    run: Run, failing: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    ensemble = Ensemble([a, failing, b], majority_vote, name="vote", min_members=2)
    with caplog.at_level(logging.WARNING, "conduit_lab"), recorder.record("call") as recorded:
        got = run(ensemble, 1)
    name = failing.__name__
    assert got.label == "b"
    assert got.members == {"a": a(1), "b": b(1)}
    assert got.left_out == {name: reason}
    assert got.agreement == 0.5
    assert caplog.messages == [f"vote: left out {name}: {reason}"]
    assert recorded["vote"].attributes["detail"] == f"left out {name} ({reason})"
    assert [span.name for span in recorded["vote"].children] == ["a", name, "b", "majority_vote"]


def test_a_hanging_member_is_left_out_at_its_timeout(run: Run, hang: Any) -> None:
    got = run(Ensemble([hang, a], majority_vote, min_members=1, timeout=SHORT), 1)
    assert got.label == "a"
    assert "DeadlineExceeded: 'hang'" in got.left_out["hang"]


def test_a_timeout_without_min_members_is_raised(run: Run, hang: Any) -> None:
    with pytest.raises(DeadlineExceeded, match="'hang'"):
        run(Ensemble([a, hang], majority_vote, timeout=SHORT), 1)


def test_a_member_that_is_fast_enough_answers(run: Run) -> None:
    ensemble = Ensemble([a, b], majority_vote, timeout=20)
    with recorder.record("call") as recorded:
        assert run(ensemble, 1).label == "b"
    *members, vote = [span.name for span in recorded["ensemble"].children]
    assert (sorted(members), vote) == (["a", "b"], "majority_vote")  # threads begin in any order


def test_bad_input_is_raised_at_once(run: Run) -> None:
    with pytest.raises(InputError, match="no such kettle"):
        run(Ensemble([fail, refuse, a], majority_vote, min_members=1, timeout=20), 1)


def test_an_ensemble_that_asks_itself_is_an_error_at_once(run: Run) -> None:
    def again(value: Any) -> Any:
        return ensemble(value)

    ensemble = Ensemble([a, again], majority_vote, min_members=1)
    with pytest.raises(RecursionError):
        run(ensemble, 1)
    endless = Ensemble([a], lambda answers: endless(answers))
    with pytest.raises(RecursionError):
        run(endless, 1)


def test_too_few_answers_name_each_failure(run: Run) -> None:
    ensemble = Ensemble([a, fail, nan], majority_vote, name="vote", min_members=2)
    with pytest.raises(
        ModelRunError,
        match="ensemble 'vote' expected answers of at least 2 members, got 1 of 3; "
        "fail: RuntimeError: no power; nan: returned NaN",
    ) as raised:
        run(ensemble, 1)
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_the_remaining_weights_are_used(run: Run) -> None:
    ensemble = Ensemble([lambda v: 10.0, fail, lambda v: 40.0], weighted([2, 5, 1]), min_members=1)
    assert run(ensemble, 1) == 20.0
    alone = Ensemble([fail, lambda v: 40.0], weighted([2, 0]), name="vote", min_members=1)
    with pytest.raises(
        ModelRunError,
        match="'vote' expected answers of at least 1 member, and those of 1 have the weight 0; "
        "fail: RuntimeError: no power",
    ):
        run(alone, 1)


@pytest.mark.parametrize(
    "answer",
    [
        float("nan"),
        np.float32("nan"),
        np.array([1, np.nan]),
        [1.0, [float("nan")]],
        {"x": 1.0, "y": np.nan},
    ],
)
def test_nan_anywhere_in_an_answer_leaves_its_member_out(answer: Any) -> None:
    ensemble = Ensemble([lambda value: answer, abs], lambda answers: len(answers), min_members=1)
    assert ensemble(1) == 1


@pytest.mark.parametrize("answer", ["nan", None, np.array(["nan"]), {"x": [1.0]}, object()])
def test_other_answers_are_no_nan(answer: Any) -> None:
    ensemble = Ensemble([lambda value: answer, abs], lambda answers: len(answers), min_members=1)
    assert ensemble(1) == 2


def test_nan_in_the_predictions_of_a_batch_leaves_its_member_out() -> None:
    def bad(value: Any) -> Predictions:
        return Predictions(np.array([[0.5, 0.5], [np.nan, 1]]), ["a", "b"])

    def good(value: Any) -> Predictions:
        return Predictions(np.array([[1.0, 0.0], [0.0, 1]]), ["a", "b"])

    got = Ensemble([bad, good], average, min_members=1)(1)
    assert list(got.left_out) == ["bad"]
    assert [row.label for row in got] == ["a", "b"]


# Combine functions


def test_a_combine_function_without_return_is_an_error(run: Run) -> None:
    def best(answers: list[Any]) -> Any:
        max(answers)

    with pytest.raises(
        CompositionError,
        match="ensemble 'vote': its combine function best returned None: did you forget `return`",
    ):
        run(Ensemble([abs], best, name="vote"), 1)


@pytest.mark.parametrize(
    "answer",
    [
        Prediction("a", float("nan"), {"a": 1.0}),
        Prediction("a", 0.5, {"a": 0.5, "b": float("nan")}),
        Predictions(np.array([[np.nan, 1.0]]), ["a", "b"]),
    ],
)
def test_a_combine_function_that_gives_nan_is_an_error(run: Run, answer: Any) -> None:
    with pytest.raises(
        CompositionError, match="'ensemble': its combine function best returned NaN"
    ):
        run(Ensemble([abs], Function(lambda answers: answer, "best")), 1)


def test_a_combine_function_that_raises_is_named(run: Run) -> None:
    def best(answers: list[Any]) -> Any:
        return answers[7]

    with pytest.raises(
        CompositionError, match="'vote': its combine function best failed: IndexError: list index"
    ) as raised:
        run(Ensemble([abs], best, name="vote"), 1)
    assert isinstance(raised.value.__cause__, IndexError)


@pytest.mark.parametrize("error", [InputError("no such kettle"), Overloaded("full")])
def test_an_error_with_an_answer_of_its_own_is_raised_as_it_is(run: Run, error: Exception) -> None:
    def best(answers: list[Any]) -> Any:
        raise error

    with pytest.raises(type(error)) as raised:
        run(Ensemble([abs], best), 1)
    assert raised.value is error


def test_answers_that_do_not_fit_together_name_the_ensemble(run: Run) -> None:
    with pytest.raises(CompositionError, match=r"'vote': average expected .* got str"):
        run(Ensemble([str], average, name="vote"), 1)
    with pytest.raises(ModelRunError, match="ensemble 'vote': majority_vote got NaN from member 1"):
        run(Ensemble([nan], majority_vote, name="vote"), 1)


@pytest.mark.parametrize("answer", [{"a": 1}, "text", 3, [vote(a=1.0)], (1, 2), np.float32(2)])
def test_an_answer_of_another_type_is_unchanged(run: Run, answer: Any) -> None:
    assert run(Ensemble([abs], lambda answers: answer), 1) is answer


def test_a_subclass_of_prediction_is_unchanged() -> None:
    class Verdict(Prediction):
        pass

    answer = Verdict("a", 1.0, {"a": 1.0})
    assert Ensemble([abs], lambda answers: answer)(1) is answer


def test_a_member_that_is_returned_stays_as_it_is() -> None:
    inner = Ensemble([a, b], majority_vote, name="inner")
    answer = inner(1)
    got = Ensemble([lambda value: answer, b], lambda answers: answers[0])(1)
    assert got == answer
    assert list(got.members) == ["<lambda>", "b"]
    assert list(answer.members) == ["a", "b"]


class Meeting(Stage):
    """A stage that ends only once two of them run at the same time."""

    name = "meeting"

    def __init__(self) -> None:
        self.barrier = asyncio.Barrier(2)

    def run(self, value: Any) -> Any:
        raise AssertionError("no thread is needed")

    async def arun(self, value: Any) -> Any:
        await asyncio.wait_for(self.barrier.wait(), 20)
        return value


@pytest.mark.parametrize("settings", [{}, {"min_members": 1}, {"timeout": 20}])
def test_members_are_awaited_at_once_and_no_thread_combines(settings: Any) -> None:
    threads: set[str] = set()

    async def call() -> Any:
        meeting = Meeting()
        ensemble = Ensemble([meeting, meeting], maximum, **settings)
        answer = await ensemble.acall(5)
        threads.update(thread.name for thread in threading.enumerate())
        return answer

    before = {thread.name for thread in threading.enumerate()}
    assert asyncio.run(call()) == 5
    assert threads <= before


def test_a_combine_function_may_be_async() -> None:
    async def best(answers: list[Any]) -> Any:
        await asyncio.sleep(0)
        return max(answers)

    async def call() -> Any:
        return await Ensemble([abs, abs], best).acall(-5)

    assert asyncio.run(call()) == 5


def test_a_member_that_is_cancelled_cancels_the_call() -> None:
    async def call() -> None:
        meeting = Meeting()
        task = asyncio.ensure_future(Ensemble([meeting], maximum, min_members=1).acall(5))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(call())


# Settings


def test_settings_are_those_that_differ_from_the_defaults() -> None:
    assert Ensemble([a], average)._settings() == {}
    assert Ensemble([a], average, min_members=1)._settings() == {"min_members": 1}
    assert Ensemble([a], average, timeout=2)._settings() == {"timeout": 2}


@pytest.mark.parametrize(
    ("combine", "settings", "message"),
    [
        (average, {"min_members": 0}, "expected min_members from 1 to 2, its models, got 0"),
        (average, {"min_members": 3}, "expected min_members from 1 to 2, its models, got 3"),
        (average, {"min_members": 1.5}, "expected min_members from 1 to 2, its models, got 1.5"),
        (average, {"timeout": 0}, "expected a timeout above 0 seconds, got 0"),
        (average, {"timeout": float("nan")}, "expected a timeout above 0 seconds, got nan"),
        (weighted([1, 2, 3]), {}, r"has 2 models, but weighted\(\[1, 2, 3\]\) has 3 weights"),
        (stacking(abs), {"min_members": 1}, "has 2 models and min_members=1, but stacking takes"),
    ],
)
def test_settings_that_do_not_fit_are_refused_when_it_is_made(
    combine: Any, settings: Any, message: str
) -> None:
    with pytest.raises(CompositionError, match=f"ensemble 'vote' {message}"):
        Ensemble([a, b], combine, name="vote", **settings)


def test_a_callable_without_a_hash_combines() -> None:
    class First:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, answers: list[Any]) -> Any:
            return answers[0]

    assert Ensemble([abs], First())(-2) == 2
