"""A span can run again on its own; a trace runs again from its first changed stage."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import TraceError
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.call_record import NEWEST_SPANS, Values
from conduit_lab.core.trace.trace import Trace
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.sequential import Sequential


class Counted:
    """Five stages that count their runs by name."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.stages = [self.stage(name, n) for n, name in enumerate("abcde")]

    def stage(self, name: str, plus: int) -> Function:
        def run(value: Any) -> Any:
            self.runs[name] += 1
            return value + plus

        return Function(run, name)


def trace_of(stage: Stage, value: Any) -> Trace:
    with recorder.record("call", values=Values()) as recorded:
        stage(value)
    return recorded


@pytest.mark.parametrize("place", range(5))
def test_only_the_changed_stage_and_what_follows_run(place: int) -> None:
    counted = Counted()
    recorded = trace_of(Sequential(*counted.stages), np.zeros(3))
    counted.runs.clear()
    name = "abcde"[place]
    again = recorded.rerun(changed={name: counted.stage(f"new {name}", 100)})
    assert counted.runs == Counter([f"new {name}", *"abcde"[place + 1 :]])
    assert again["sequential"].output.tolist() == [110.0 - place] * 3
    kept = [span.name for span in again if span.attributes.get("kept")]
    assert kept == list("abcde"[:place])


def test_a_changed_branch_leaves_the_others() -> None:
    counted = Counted()
    a, b, c, d, e = counted.stages
    pipeline = Sequential(
        a, Parallel({"left": Sequential(b, c, name="left"), "right": d}), lambda both: both["left"]
    )
    recorded = trace_of(pipeline, 1)
    counted.runs.clear()
    again = recorded.rerun(changed={"c": e})
    assert counted.runs == Counter({"e": 1})
    assert again["sequential"].output == 1 + 0 + 1 + 4
    assert again["c"].output == 6  # under the name of the stage that it replaces


def test_a_stage_that_gives_the_same_lets_the_rest_be_kept() -> None:
    counted = Counted()
    recorded = trace_of(Sequential(*counted.stages), 5)
    counted.runs.clear()
    again = recorded.rerun(changed={"c": counted.stage("same", 2)})
    assert counted.runs == Counter({"same": 1})
    assert again["sequential"].output == 15


def test_without_changes_all_run() -> None:
    counted = Counted()
    recorded = trace_of(Sequential(*counted.stages), 5)
    counted.runs.clear()
    assert recorded.rerun()["sequential"].output == 15
    assert counted.runs == Counter("abcde")


def test_a_rerun_can_be_rerun() -> None:
    counted = Counted()
    recorded = trace_of(Sequential(*counted.stages), 5)
    once = recorded.rerun(changed={"c": counted.stage("c2", 20)})
    twice = once.rerun(changed={"d": counted.stage("d2", 30)})
    assert twice["sequential"].output == 5 + 0 + 1 + 20 + 30 + 4


def test_the_kept_values_are_those_of_the_call() -> None:
    def spoil(value: dict[str, Any]) -> float:
        total = float(value["x"].sum())
        value["x"][:] = -1
        value["more"] = True
        return total

    make = Function(lambda value: {"x": np.full(3, float(value))}, "make")
    recorded = trace_of(Sequential(make, Function(spoil, "spoil"), str), 2)
    span = recorded["spoil"]
    assert span.input["x"].tolist() == [2, 2, 2]
    assert set(span.input) == {"x"}
    assert span.given["x"].tolist() == [-1, -1, -1]
    assert recorded.rerun(changed={"str": float})["str"].output == 6.0
    assert span.rerun().output == 6.0
    assert span.input["x"].tolist() == [2, 2, 2]


def test_a_trace_of_an_event_loop_runs_again() -> None:
    counted = Counted()

    async def call() -> Trace:
        with recorder.record("call") as recorded:
            await Sequential(*counted.stages).acall(1)
        return recorded

    recorded = asyncio.run(call())
    counted.runs.clear()
    recorded.rerun(changed={"e": counted.stage("new", 9)})
    assert counted.runs == Counter({"new": 1})


def test_a_rerun_inside_a_recorded_call_is_a_call_of_its_own() -> None:
    counted = Counted()
    recorded = trace_of(Sequential(*counted.stages), 1)
    counted.runs.clear()
    with recorder.record("outer") as outer:
        recorded.rerun(changed={"e": counted.stage("new", 9)})
    assert counted.runs == Counter({"new": 1})
    assert [span.name for span in outer] == ["outer"]


def test_a_failed_stage_runs_again() -> None:
    broken = [True]

    def fail(value: int) -> int:
        if broken[0]:
            raise ZeroDivisionError
        return value

    counted = Counted()
    with pytest.raises(ZeroDivisionError), recorder.record("call") as recorded:
        Sequential(*counted.stages, Function(fail, "fail"))(1)
    counted.runs.clear()
    broken[0] = False
    again = recorded.rerun(changed={"e": counted.stages[4]})
    assert again["fail"].output == 11
    assert counted.runs == Counter("e")


def test_a_span_runs_alone_on_its_input_on_another_and_with_another_model() -> None:
    counted = Counted()
    span = trace_of(Sequential(*counted.stages), 1)["c"]
    counted.runs.clear()
    assert (span.rerun().output, span.rerun(40).output) == (4, 42)
    assert span.rerun(None, model=str).output == "None"
    again = span.rerun(model=counted.stage("new", 50))
    assert (again.name, again.input, again.output) == ("c", 2, 52)
    assert counted.runs == Counter({"c": 2, "new": 1})


def test_an_error_of_a_rerun_is_raised_as_it_is() -> None:
    span = trace_of(Function(lambda value: value, "s"), 1)["s"]
    with pytest.raises(ZeroDivisionError):
        span.rerun(model=lambda value: 1 / 0)


def test_an_unknown_stage_is_named_with_the_nearest() -> None:
    recorded = trace_of(Sequential(*Counted().stages, Function(str, "topic")), 1)
    with pytest.raises(
        TraceError,
        match=r"no stage 'topci' in this trace to change: it has sequential, a, b, c, d, e, "
        r"topic; did you mean 'topic'\?",
    ):
        recorded.rerun(changed={"topci": str})


def test_dropped_values_cannot_run_again() -> None:
    with recorder.record("call", values=Values(10_000)) as recorded:
        Sequential(lambda value: value * 2, lambda value: value[:5], name="s")(
            np.zeros(500, np.float32)
        )
    span = recorded.root.children[0].children[0]
    assert span.forgotten
    with pytest.raises(TraceError, match=r"input of '<lambda>' was dropped .* pass one"):
        span.rerun()
    assert span.rerun(np.ones(1)).output.tolist() == [2.0]


def test_dropped_values_before_the_changed_stage_are_an_error() -> None:
    counted = Counted()
    recorded = trace_of(Sequential(*counted.stages), 1)
    recorded["b"].forget()
    counted.runs.clear()
    with pytest.raises(TraceError, match=r"the values of 'b' were dropped .*make the call again"):
        recorded.rerun(changed={"d": str})
    assert recorded.rerun(changed={"a": counted.stage("new", 7)})["sequential"].output == 18


def test_a_trace_that_dropped_spans_cannot_run_again() -> None:
    stage = Function(lambda value: value, "s")
    many = Function(lambda value: [stage(n) for n in range(2 * NEWEST_SPANS)], "many")
    recorded = trace_of(many, 1)
    with pytest.raises(TraceError, match=r"the trace of 'call' keeps \d+ spans and dropped \d+"):
        recorded.rerun(changed={"s": str})


def test_a_call_that_wrote_does_not_write_again() -> None:
    with recorder.record("call") as recorded, recorder.span("s", "write", store_write="notes"):
        pass
    with pytest.raises(TraceError, match="'call' wrote to notes, and would write again"):
        recorded.rerun()


def test_a_block_of_several_stages_cannot_run_again_as_a_whole() -> None:
    a, b, *_ = Counted().stages
    with recorder.record("block") as recorded:
        a(1)
        b(2)
    with pytest.raises(TraceError, match="the block 'block' cannot run again"):
        recorded.rerun(changed={"a": b})


def test_a_span_without_a_stage_cannot_run_alone() -> None:
    with recorder.record("call") as recorded, recorder.span("chunk", "call"):
        pass
    with pytest.raises(TraceError, match="'chunk' is not a call of a stage"):
        recorded["chunk"].rerun()


def test_a_changed_function_makes_its_trace_stale() -> None:
    def before(value: int) -> int:
        return value + 1

    def after(value: int) -> int:
        return value + 2

    stage = Function(before)
    recorded = trace_of(Sequential(stage, str), 1)
    assert recorded.stale == []
    stage.function = after
    assert recorded.stale == ["before"]
    again = recorded.rerun()
    assert again["before"].output == 3
    assert again.stale == []


def test_the_same_source_at_another_line_is_not_stale() -> None:
    source = "def f(value):\n    return [n for n in range(value)]\n"
    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    exec(compile(source, "cell", "exec"), first)
    exec(compile("\n\n" + source, "cell", "exec"), second)
    stage = Function(first["f"])
    recorded = trace_of(stage, 1)
    stage.function = second["f"]
    assert recorded.stale == []


def test_a_kept_value_is_the_callers_own() -> None:
    def fill(value: Any) -> Any:
        value[:] = 9
        return value

    made = Function(lambda value: np.full(2, float(value)), "made")
    recorded = trace_of(Sequential(made, Function(fill, "fill"), Function(list, "last")), 3)
    again = recorded.rerun(changed={"fill": Function(fill, "other")})
    assert again["made"].output.tolist() == recorded["made"].output.tolist() == [3, 3]
    assert again["made"].gave.tolist() == [9, 9]
    assert again["fill"].given is again["made"].gave


def test_a_trace_without_values_cannot_run_again() -> None:
    with recorder.record("call", values=Values(0)) as recorded:
        Function(str)(1)
    with pytest.raises(TraceError, match="the trace of 'call' keeps no values"):
        recorded.rerun()
