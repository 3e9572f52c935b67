"""An explanation of a pipeline: the choices made for its stages, without running or opening one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.stage import Stage
from conduit_lab.flow import compile as compiling
from conduit_lab.flow.cached import Cached
from conduit_lab.flow.compile import CompileStep
from conduit_lab.flow.explain import Explanation
from conduit_lab.flow.lazy_parallel import LazyParallel
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.route import Route
from conduit_lab.flow.route_table import RouteTable
from conduit_lab.flow.sequential import Sequential
from conduit_lab.models.model import Model
from conduit_lab.runtime.measuring.timing import Turns
from tests.runtime import graphs

SAMPLE = np.arange(4, dtype=np.float32)


class Never(Stage):
    """A stage that must not run."""

    name = "never"
    last_seconds = 0.0123

    def run(self, value: Any) -> Any:
        raise AssertionError("an explanation runs nothing")


@dataclass
class Decision:
    threaded: bool
    reason: str
    seconds: dict[str, float] = field(default_factory=dict)


def choices(explanation: Explanation) -> dict[str, tuple[str, str]]:
    return {each.name: (each.choice, each.reason) for each in explanation.choices}


def test_nothing_runs_and_nothing_is_opened(tmp_path: Path) -> None:
    closed = Model(graphs.linear(tmp_path / "closed.onnx", np.eye(4)))
    pipeline = Sequential(closed, Cached(Never()), Parallel({"a": Never()}), name="flow")
    explanation = pipeline.explain()
    text = repr(explanation)
    assert closed.held is None
    assert "Explanation 'flow' · not compiled: compile(samples)" in text
    assert choices(explanation)["closed"] == ("not opened", "")
    assert "12.3 ms" in text
    assert "not recorded" in text


def test_as_a_cell_value_it_is_text_and_static_html() -> None:
    bundle = Sequential(Never(), Cached(abs, name="<memory>")).explain()._repr_mimebundle_()
    assert "&lt;memory&gt;" in bundle["text/html"]
    assert "<script" not in bundle["text/html"]
    assert "<memory>" in bundle["text/plain"]


def test_the_depth_of_a_stage_is_shown() -> None:
    explanation = Sequential(Sequential(Never(), name="inner"), name="outer").explain()
    assert [(each.depth, each.name) for each in explanation.choices] == [
        (0, "outer"),
        (1, "inner"),
        (2, "never"),
    ]
    lines = repr(explanation).splitlines()
    assert lines[3].startswith("\u00a0\u00a0inner")


def test_caches_report_their_hits() -> None:
    cached = Cached(abs, bytes=2**20)
    for value in (1, 1, 2, Path("a").stat):
        try:
            cached(value)
        except TypeError:
            continue
    choice, reason = choices(Sequential(cached).explain())["cached"]
    assert choice == "cache of at most 1.00 MB"
    assert reason.startswith("1 hit, 2 misses, ")
    assert "1 call not cacheable: an input of the type" in reason


@pytest.mark.parametrize(
    ("decision", "choice", "reason"),
    [
        (None, "not measured yet", ""),
        (Decision(False, "no run was measured"), "one after the other", "no run was measured"),
        (
            Decision(True, "threads are faster", {"a": 0.002, "b": 0.01}),
            "on threads",
            "threads are faster: a 2.00 ms, b 10.0 ms",
        ),
        (
            Decision(False, "they are short", {"a": 2e-6}),
            "one after the other",
            "they are short: a 2.00 µs",
        ),
    ],
)
def test_a_parallel_reports_its_threads(
    decision: Decision | None, choice: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Parallel, "decision", decision, raising=False)
    parallel = Parallel({"a": Never(), "b": Never()})
    found = choices(Sequential(parallel).explain())
    assert found["parallel"] == (choice, reason)
    lazy = choices(Sequential(LazyParallel(parallel, lazy=["b"])).explain())
    assert lazy["parallel"] == (f"b only when read; {choice}", reason)


def test_a_table_reports_its_size() -> None:
    table = RouteTable(Route(str, {"a": abs}), table={"a": "a", "b": "a"}, name="table")
    assert choices(table.explain())["table"] == ("table of 2 values", "other values use the route")


def test_a_model_reports_its_batches_and_runs(tmp_path: Path) -> None:
    model = Model(graphs.linear(tmp_path / "m.onnx", np.eye(4))).open()
    pipeline = Sequential(model)
    choice, reason = choices(pipeline.explain())["m"]
    assert choice == "cpu, batches of at most 256 rows"
    assert reason == "no runs yet"

    async def calls() -> None:
        await asyncio.gather(*(pipeline.acall(SAMPLE * n) for n in range(8)))

    asyncio.run(calls())
    pipeline(np.stack([SAMPLE, SAMPLE]))
    _, reason = choices(pipeline.explain())["m"]
    shared = model.shared
    assert reason.startswith(f"{shared.statistics()}, {shared.rows / shared.calls:.3g} row")
    assert "rows " in reason.split("per run", 1)[1]  # of the batch that was measured


def test_a_model_of_weights_reports_its_runs(tmp_path: Path) -> None:
    np.savez(tmp_path / "n.npz", W0=np.eye(4, dtype=np.float32))
    model = Model(tmp_path / "n.npz").open()
    model(SAMPLE)
    choice, reason = choices(Sequential(model).explain())["n"]
    assert choice.startswith("numpy")
    assert "1 row per run" in reason


def test_the_steps_of_compile_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "in_turn", lambda *calls: Turns(2e-5, 1e-5, 0.5))
    inner = Sequential(Parallel({"a": abs, "b": abs}), lambda found: found["a"], name="inner")
    compiled = inner.compile([1])
    (step,) = compiled.explain().steps
    assert isinstance(step, CompileStep)
    assert (step.used, step.before, step.after) == (True, 2e-5, 1e-5)
    text = repr(Sequential(compiled).explain())  # as a part of a larger one too
    assert "10.0 µs per call compiled, 20.0 µs before · 1 of 1 step used" in text
    assert "20.0 µs per call before, 10.0 µs after" in text
    assert "nothing to compile" in repr(Sequential(abs).compile([1]).explain())


def test_a_large_tree_is_bounded() -> None:
    wide = Parallel({str(n): Never() for n in range(500)})
    assert len(Sequential(wide).explain().choices) == 100
    endless = Sequential(abs)
    endless.stages = (endless,)
    assert len(endless.explain().choices) == 21
