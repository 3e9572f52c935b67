"""A compiled pipeline gives the same answers; each step is used only if it is equal and faster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import CompositionError, InputError
from conduit_lab.core.run import run
from conduit_lab.core.stage import Stage
from conduit_lab.core.trace import recorder
from conduit_lab.flow import compile as compiling
from conduit_lab.flow.cached import Cached
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.compile import CompileStep
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.lazy_parallel import LazyParallel
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.rebuild import combinators, rebuilt
from conduit_lab.flow.route import Route
from conduit_lab.flow.route_table import RouteTable
from conduit_lab.flow.sequential import Sequential
from conduit_lab.models.model import Model
from conduit_lab.runtime.measuring.timing import Turns
from conduit_lab.runtime.rewriting import graph_fusion
from tests.runtime import graphs

SAMPLE = np.arange(4, dtype=np.float32)
SAMPLES = [SAMPLE, SAMPLE * 2 - 1]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The measured time after a step, as a share of that before; no test needs a real clock."""
    share = [0.5]

    def in_turn(before: Callable[[], Any], after: Callable[[], Any]) -> Turns:
        before(), after()
        return Turns(1e-5, share[0] * 1e-5, share[0])

    monkeypatch.setattr(compiling, "in_turn", in_turn)
    monkeypatch.setattr(graph_fusion, "in_turn", in_turn)
    return share


class Counting(Stage):
    """A stage that counts its runs and keeps the values that it got."""

    def __init__(self, function: Callable[[Any], Any], name: str = "counting") -> None:
        self.function = function
        self.name = name
        self.got: list[Any] = []

    def run(self, value: Any) -> Any:
        self.got.append(value)
        return self.function(value)


def model(folder: Path, name: str) -> Model:
    weight = np.random.default_rng(len(name) + ord(name[0])).standard_normal((4, 4), np.float32)
    return Model(graphs.linear(folder / f"{name}.onnx", weight))


def decisions(pipeline: Combinator) -> list[tuple[str, str, bool]]:
    assert pipeline.report is not None
    return [(step.kind, step.parts, step.used) for step in pipeline.report]


def reason(pipeline: Combinator) -> str:
    assert pipeline.report is not None
    (step,) = pipeline.report
    assert not step.used
    return step.reason


# Fusion


def test_models_in_a_row_are_fused_wherever_they_are(tmp_path: Path) -> None:
    a, b, c = (model(tmp_path, name) for name in "abc")
    pipeline = Fallback(
        Sequential(
            Parallel({"x": Sequential(a, b, name="pair"), "y": c}),
            lambda both: both["x"] + both["y"],
            a,
            b,
            c,
            name="outer",
        ),
        Route(lambda row: "only", {"only": Ensemble([Sequential(c, a)], sum)}),
    )
    compiled = pipeline.compile(SAMPLES)
    assert isinstance(compiled, Fallback)
    outer: Any = compiled.stages[0]
    assert [stage.name for stage in outer.stages[2:]] == ["a + b + c"]
    assert [stage.name for stage in outer.stages[0].stages["x"].stages] == ["a + b"]
    np.testing.assert_allclose(compiled(SAMPLE * 3), pipeline(SAMPLE * 3), rtol=1e-5)
    found = [(step, used) for _, step, used in decisions(compiled)]
    # the other branch was never reached, so nothing is known of it
    assert found == [("parallel", False), ("route", False), ("a + b", True), ("a + b + c", True)]
    assert [stage.name for stage in pipeline.stages[0].children][2:] == ["a", "b", "c"]


def test_models_that_are_not_faster_together_stay(tmp_path: Path, clock: list[float]) -> None:
    clock[0] = 0.99
    pipeline = Sequential(model(tmp_path, "a"), model(tmp_path, "b"))
    compiled = pipeline.compile(SAMPLES)
    assert isinstance(compiled, Sequential)
    assert compiled is not pipeline
    assert compiled.stages == pipeline.stages
    assert "not faster: 10.0 µs before, 9.90 µs as one graph" in reason(compiled)
    assert compiled.report is not None
    assert (compiled.report[0].before, compiled.report[0].after) == (1e-5, 0.99e-5)
    assert pipeline.report is None


def test_a_fused_graph_must_make_the_pipeline_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "in_turn", lambda *calls: Turns(1.0, 1.0, 1.0))
    pipeline = Sequential(model(tmp_path, "a"), model(tmp_path, "b"))
    compiled = pipeline.compile(SAMPLES)
    assert isinstance(compiled, Sequential)
    assert compiled.stages == pipeline.stages
    assert reason(compiled) == "not faster: 500 ms per call before, 500 ms after"


def test_an_event_loop_and_a_batch_answer_alike(tmp_path: Path) -> None:
    pipeline = Sequential(
        Parallel({"x": model(tmp_path, "a"), "unread": abs}), lambda found: found["x"]
    )
    compiled = pipeline.compile(SAMPLES)

    async def call() -> Any:
        return await compiled.acall(SAMPLE)

    np.testing.assert_allclose(asyncio.run(call()), pipeline(SAMPLE))
    np.testing.assert_allclose(compiled.batch(SAMPLES), pipeline.batch(SAMPLES))


# Unread results


def readers() -> tuple[Counting, Counting, Sequential]:
    read, unread = Counting(lambda v: v + 1, "read"), Counting(lambda v: v + 2, "unread")
    parallel = Parallel({"a": read, "b": unread, "c": abs}, name="features")

    def reader(found: dict[str, int]) -> int:
        total = found["a"] + found.get("c", 0)
        return total if total < 100 else total + found["b"]

    return read, unread, Sequential(parallel, reader)


def test_a_member_that_nobody_reads_does_not_run_until_it_is_read() -> None:
    read, unread, pipeline = readers()
    compiled = pipeline.compile([1, 2])
    assert decisions(compiled) == [("unread results", "b of features", True)]
    read.got.clear()
    unread.got.clear()
    assert [compiled(3), read.got, unread.got] == [7, [3], []]
    assert [compiled(60), unread.got] == [183, [60]]
    assert pipeline(60) == 183
    with recorder.record("call") as trace:
        compiled(60)
    assert trace["features"].attributes["detail"] == "not run until read: b"
    assert [span.name for span in trace["reader"].children] == ["unread"]


@pytest.mark.parametrize(
    "reader",
    [
        lambda found: found,
        lambda found: {"all": [found]},
        lambda found: sum(found.values()),
        lambda found: sorted({**found}.items()),
        lambda found: f"{found}",
        lambda found: [found[name] for name in found],
    ],
)
def test_results_that_are_all_read_run_at_once(reader: Any) -> None:
    pipeline = Sequential(Parallel({"a": abs, "b": lambda v: v + 1}), reader)
    compiled = pipeline.compile([1])
    assert reason(compiled) == "every result is read"
    assert isinstance(compiled, Sequential)
    assert compiled.stages == pipeline.stages


def test_the_reader_may_be_far_away() -> None:
    inner = Sequential(abs, Parallel({"a": abs, "b": str, "c": str}))
    pipeline = Sequential(
        Fallback(Route(lambda value: "x", {"x": inner})),
        lambda found: (found, 1),
        lambda pair: (pair[0]["b"], pair[1]),
    )
    compiled = pipeline.compile([1])
    assert ("unread results", "a, c of parallel", True) in decisions(compiled)
    assert compiled(-2) == ("2", 1)


def test_a_member_outside_of_python_reach_is_read() -> None:
    import json

    pipeline = Sequential(Parallel({"a": abs, "b": abs}), json.dumps)
    compiled = pipeline.compile([1])
    assert "sample 0 raises TypeError" in reason(compiled)
    assert compiled(2) == '{"a": 2, "b": 2}'


def test_an_unread_member_stays_where_it_costs_nothing(clock: list[float]) -> None:
    clock[0] = 1.0
    _, _, pipeline = readers()
    compiled = pipeline.compile([1])
    assert decisions(compiled) == [("unread results", "b of features", False)]
    assert "not faster" in reason(compiled)


# Route tables


class Choosing(Counting):
    def __init__(self) -> None:
        super().__init__(lambda value: "even" if len(str(value)) % 2 == 0 else "odd", "choosing")


def test_a_route_over_few_values_becomes_a_table() -> None:
    choose = Choosing()
    pipeline = Sequential(str, Route(choose, {"even": str.upper, "odd": str.title}))
    compiled = pipeline.compile(["ab", "abc", "ab", "abc"])
    assert decisions(compiled) == [("route table", "2 values of route", True)]
    choose.got.clear()
    assert [compiled("ab"), compiled("abc"), choose.got] == ["AB", "Abc", []]
    assert [compiled("abcd"), choose.got] == ["ABCD", ["abcd"]]


def test_types_of_few_values_need_no_repetition() -> None:
    route = Route(str, {"True": lambda _: 1, "False": lambda _: 0})
    assert decisions(route.compile([True, False])) == [("route table", "2 values of route", True)]


def test_values_that_come_once_may_have_no_end() -> None:
    route = Route(Choosing(), {"even": str.upper, "odd": str.title})
    assert "3 of 3 values occur once" in reason(route.compile(["ab", "abc", "d"]))


def test_arrays_have_no_table() -> None:
    route = Route(lambda row: "a", {"a": lambda row: row})
    assert "no key of the type ndarray" in reason(route.compile(SAMPLES))


def test_a_route_that_changes_its_mind_is_seen_on_the_samples() -> None:
    answers = iter("abababababababab")
    route = Route(lambda value: next(answers), {"a": lambda _: 1, "b": lambda _: 2})
    compiled = route.compile(["x"])
    assert "differ from call to call" in reason(compiled)


# The whole


def test_compiling_again_changes_nothing(tmp_path: Path) -> None:
    _, _, readable = readers()
    pipeline = Sequential(
        Parallel({"models": Sequential(model(tmp_path, "a"), model(tmp_path, "b")), "b": abs}),
        lambda found: float(found["models"][0]) > 0,
        Route(str, {"True": lambda _: 1, "False": lambda _: 0}),
        readable,
    )
    once = pipeline.compile(SAMPLES * 2)
    again = once.compile(SAMPLES * 2)
    assert sorted(decisions(again)) == sorted(decisions(once))
    assert all(used for _, _, used in decisions(once))
    assert [type(each) for each in combinators(again)] == [type(each) for each in combinators(once)]
    for sample in (SAMPLE, -SAMPLE, SAMPLE * 7):
        assert again(sample) == once(sample) == pipeline(sample)


def test_a_pipeline_without_anything_to_compile_runs_once_per_sample() -> None:
    stage = Counting(lambda value: value)
    compiled = Ensemble([stage], sum).compile([1, 2])
    assert stage.got == [1, 2]
    assert compiled.report == ()


def test_caches_are_neither_asked_nor_filled() -> None:
    stage = Counting(lambda value: {"a": value, "b": value})
    inner = Sequential(Parallel({"a": stage, "b": stage}), lambda found: found["a"])
    cached = Cached(inner)
    pipeline = Sequential(cached, dict)
    compiled = pipeline.compile([1, 1])
    assert decisions(compiled) == [("unread results", "b of parallel", True)]
    assert (cached.hits, cached.misses, len(cached._cache)) == (0, 0, 0)
    (again,) = [each for each in combinators(compiled) if isinstance(each, Cached)]
    compiled(1)
    compiled(1)
    assert (again.hits, again.misses) == (1, 1)


def test_stages_get_the_values_of_the_samples_alone(tmp_path: Path) -> None:
    counting = Counting(lambda value: value + 1)
    pipeline = Sequential(
        counting, model(tmp_path, "a"), model(tmp_path, "b"), Counting(lambda row: row.sum())
    )
    pipeline.compile(SAMPLES)
    for value in counting.got:
        assert any(np.array_equal(value, sample) for sample in SAMPLES)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "expected at least one sample, got none"),
        ("text", "expected a list of samples, got str"),
        (7, "expected a list of samples, got int"),
        ({"a": 1}, "expected a list of samples, got dict"),
        ([1, "x"], r"sample 1 raised TypeError: .*\. Pass values as sum up\(value\) takes them"),
    ],
)
def test_bad_samples_are_named(samples: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sequential(abs, abs, name="sum up").compile(samples)


def test_async_functions_are_not_compiled() -> None:
    async def later(value: int) -> int:
        return value

    with pytest.raises(InputError, match="sample 0 returned a coroutine"):
        Sequential(abs, later).compile([1])


def test_stages_that_share_values_of_their_run_are_compiled_in_runs(tmp_path: Path) -> None:
    def put(row: Any) -> Any:
        run.values["sum"] = row.sum()
        return row

    def take(found: Any) -> Any:
        return found["a"][0] + run.values["sum"]

    pipeline = Sequential(
        put,
        model(tmp_path, "a"),
        model(tmp_path, "b"),
        Parallel({"a": lambda row: row, "b": abs}),
        take,
    )
    compiled = pipeline.compile(SAMPLES)
    assert [used for _, _, used in decisions(compiled)] == [True, True]
    with recorder.record("call"):
        assert compiled(SAMPLE) == pytest.approx(pipeline(SAMPLE))


def test_inside_a_recorded_call_nothing_is_measured() -> None:
    with (
        recorder.record("call"),
        pytest.raises(CompositionError, match="cannot run inside a recorded call"),
    ):
        Sequential(abs).compile([1])


def test_answers_that_differ_from_call_to_call_are_not_compiled() -> None:
    _, _, pipeline = readers()
    calls = count()
    compiled = Sequential(pipeline, lambda value: next(calls)).compile([1])
    assert decisions(compiled) == [("answers", "sequential", False)]


def test_two_threads_may_compile_one_pipeline(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    pipeline = Sequential(model(tmp_path, "a"), model(tmp_path, "b"))
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(pipeline.compile, [SAMPLES, SAMPLES]))
    for compiled in both:
        np.testing.assert_allclose(compiled(SAMPLE), pipeline(SAMPLE), rtol=1e-5)


def test_a_step_says_whether_it_is_used() -> None:
    step = CompileStep("fusion", "a + b", True, "2 µs before, 1 µs after", 2e-6, 1e-6)
    assert repr(step) == "fusion, a + b: used, 2 µs before, 1 µs after"
    assert "declined" in repr(CompileStep("route table", "route", False, "not faster"))


# Rebuilding


def test_a_rebuilt_tree_shares_all_that_did_not_change() -> None:
    same, other = Sequential(abs), Sequential(abs)
    route = Route(str, {"a": same, "b": other}, name="choice")
    tree = Fallback(Parallel({"x": route, "y": same}), Cached(same, bytes=1000))
    new = rebuilt(tree, {id(other): lambda stage: Sequential(abs, abs)})
    assert new.name == tree.name
    assert new.stages[1] is tree.stages[1]
    assert new.stages[0].stages["y"] is same
    chosen = new.stages[0].stages["x"]
    assert (chosen.name, chosen.choose, chosen.stages["a"]) == ("choice", str, same)
    assert len(chosen.stages["b"].stages) == 2
    assert rebuilt(tree, {}) is tree


def test_settings_survive() -> None:
    inner = Sequential(abs)
    cached = Cached(inner, bytes=1000, name="memory")
    new = rebuilt(cached, {id(inner): lambda stage: Sequential(abs, abs)})
    assert (new.bytes, new.name, len(new.stage.stages)) == (1000, "memory", 2)


def test_a_subclass_with_another_constructor_stays_as_it_is() -> None:
    class Doubled(Sequential):
        def __init__(self, stage: Any) -> None:
            super().__init__(stage, stage)

    pipeline = Sequential(Doubled(Sequential(abs, abs)), Parallel({"a": abs}), dict)
    compiled = pipeline.compile([1])
    assert compiled(-3) == pipeline(-3)
    assert isinstance(compiled, Sequential)
    assert compiled.stages[0] is pipeline.stages[0]


def test_the_classes_of_compiled_parts() -> None:
    _, _, pipeline = readers()
    route = Route(str, {"True": lambda _: 1, "False": lambda _: 0})
    compiled = Sequential(pipeline, lambda value: value > 4, route).compile([1, 2, 3])
    kinds = {type(each) for each in combinators(compiled)}
    assert {LazyParallel, RouteTable} <= kinds
