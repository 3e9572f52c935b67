"""Combinators: equality, and the tree and the drawing that they show themselves as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.spec import TEXT_SPEC, TensorSpec
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.trace import recorder
from conduit_lab.flow.combinator import Combinator, check_composition
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.route import Route
from conduit_lab.flow.sequential import Sequential
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.model import Model

VECTOR = TensorSpec("x", "float32", ("batch", 384))


class Encoder(Stage):
    name = "minilm"
    last_seconds = 0.00098

    takes = (TEXT_SPEC,)
    gives = (VECTOR,)

    def run(self, value: Any) -> Any:
        return value


class Classifier(Stage):
    name = "topic"
    last_seconds = 0.00021

    takes = (VECTOR,)
    gives = "Prediction"

    def run(self, value: Any) -> Any:
        return value


class Patient(Combinator):
    """A combinator with settings, one of them a stage."""

    def __init__(
        self, stage: Any, *, spare: Stage, timeout: float = 1.0, name: str = "patient"
    ) -> None:
        self.stage = stage
        self.spare = spare
        self.timeout = timeout
        self.name = name

    @property
    def children(self) -> tuple[Stage, ...]:
        return self.stage, self.spare

    def _settings(self) -> dict[str, Any]:
        return {"spare": self.spare, "timeout": self.timeout}

    def run(self, value: Any) -> Any:
        return self.stage(value)


@dataclass(frozen=True)
class Scaled:
    factor: int

    def __call__(self, value: Any) -> Any:
        return value


def double(value: Any) -> Any:
    return value * 2


def parity(value: Any) -> str:
    return "odd" if value % 2 else "even"


def fail(value: Any) -> Any:
    raise AssertionError("it ran")


# Equality

MADE: list[Callable[[], Combinator]] = [
    lambda: Sequential(double, abs),
    lambda: Sequential(double),
    lambda: Sequential(abs, double),
    lambda: Sequential(double, abs, name="both"),
    lambda: Sequential(),
    lambda: Sequential(Sequential(double), abs),
    lambda: Fallback(double, abs),
    lambda: Parallel({"a": double, "b": abs}),
    lambda: Parallel({"a": double, "c": abs}),
    lambda: Route(parity, {"odd": double, "even": abs}),
    lambda: Route(str, {"odd": double, "even": abs}),
    lambda: Ensemble([double, abs], sum),
    lambda: Ensemble([double, abs], max),
    lambda: Patient(Function(double), spare=Function(abs)),
    lambda: Patient(Function(double), spare=Function(double)),
    lambda: Patient(Function(double), spare=Function(abs), timeout=2.0),
]


def test_combinators_of_equal_parts_are_equal_and_no_others() -> None:
    first, again = [make() for make in MADE], [make() for make in MADE]
    for i, one in enumerate(first):
        assert [one == other for other in again] == [i == j for j in range(len(MADE))]
        assert hash(one) == hash(again[i])
    assert len({*first, *again}) == len(MADE)
    assert first[0] != "Sequential"


def test_a_changed_combinator_keeps_its_hash() -> None:
    pipe = Sequential(double)
    before = hash(pipe)
    pipe.stages = (*pipe.stages, Function(abs))
    assert hash(pipe) == before and pipe == Sequential(double, abs)


def test_functions_are_equal_by_function_and_name_and_models_by_identity(tmp_path: Path) -> None:
    assert Function(double) == Function(double) != Function(double, name="twice")
    assert Function(abs) != Function(double)
    assert CallableModel(double) != CallableModel(double)
    np.savez(tmp_path / "m.npz", W=np.eye(2, dtype=np.float32), b=np.zeros(2, np.float32))
    model = Model(tmp_path / "m.npz")
    assert Sequential(model) == Sequential(model) != Sequential(Model(tmp_path / "m.npz"))


def test_a_subclass_with_arguments_of_its_own_equals_itself_alone() -> None:
    class Twice(Sequential):
        def __init__(self, step: Any) -> None:
            super().__init__(step, step)

    twice = Twice(double)
    assert twice == twice != Twice(double)
    assert repr(twice).count("double") == 2


# The tree as text


def test_the_tree_has_specs_and_last_times() -> None:
    pipe = Sequential(Encoder(), Classifier(), name="analyze")
    pipe.last_seconds = 0.00124
    assert repr(pipe).split("\n") == [
        "Sequential 'analyze' · text → Prediction · 1.24 ms",
        "├─ minilm   Encoder      text → float32 [batch, 384]         980 µs",
        "└─ topic    Classifier   float32 [batch, 384] → Prediction   210 µs",
    ]


def test_nested_stages_have_branches_keys_and_settings() -> None:
    spare = Fallback(Classifier(), double, name="spare")
    pipe = Sequential(
        Parallel({"topic": spare, "double": double}),
        Route(parity, {"odd": abs}),
        Ensemble([double, abs], sum),
    )
    assert repr(pipe).split("\n") == [
        "Sequential · float32 [batch, 384] → ?",
        "├─ parallel          Parallel                float32 [batch, 384] → dict",
        "│  ├─ topic: spare   Fallback                float32 [batch, 384] → ?",
        "│  │  ├─ topic       Classifier              float32 [batch, 384] → Prediction   210 µs",
        "│  │  └─ double      Function",
        "│  └─ double         Function",
        "├─ route             Route · choose=parity",
        "│  └─ odd: abs       Function",
        "└─ ensemble          Ensemble",
        "   ├─ double         Function",
        "   ├─ abs            Function",
        "   └─ combine: sum   Function",
    ]


def test_settings_are_shown_and_stages_among_them_are_children() -> None:
    shown = repr(Patient(Function(double), spare=Function(abs), timeout=2.0))
    assert shown.split("\n") == [
        "Patient · timeout=2.0",
        "├─ double       Function",
        "└─ spare: abs   Function",
    ]


def test_a_function_with_settings_shows_them() -> None:
    assert "Scaled(factor=3)" in repr(Sequential(Function(Scaled(3), name="scaled"))).split("\n")[1]


def test_a_model_that_is_not_open_says_so_and_stays_closed(tmp_path: Path) -> None:
    model = Model(tmp_path / "missing.npz", name="missing")
    pipe = Sequential(double, model)
    assert repr(pipe).split("\n")[2] == "└─ missing   Model · not opened"
    assert "not opened" in pipe._repr_mimebundle_()["text/html"]
    assert pipe.to_mermaid() and model.held is None


def test_showing_runs_nothing() -> None:
    pipe = Sequential(fail, Route(fail, {"a": fail}))
    assert repr(pipe) and pipe._repr_mimebundle_() and pipe.to_mermaid()


def test_a_wide_tree_is_cut_and_the_joining_stage_stays() -> None:
    lines = repr(Ensemble([double] * 100, sum)).split("\n")
    assert lines[-2:] == ["├─ combine: sum       Function", "└─ … 89 more stages"]
    assert len(lines) == 14


def test_a_deep_tree_is_cut() -> None:
    pipe = Sequential(double)
    for _ in range(40):
        pipe = Sequential(pipe)
    lines = repr(pipe).split("\n")
    assert len(lines) == 10 and lines[-1].strip() == "└─ … 1 more stage"


def test_a_tree_of_many_stages_shows_the_nearest_ones() -> None:
    pipe: Combinator = Sequential(double)
    for _ in range(4):
        pipe = Parallel({str(i): pipe for i in range(6)})
    lines = repr(pipe).split("\n")
    assert sum("more stage" not in line for line in lines[1:]) == 30
    assert all(any(line.startswith(f"├─ {i}") for line in lines) for i in range(5))


def test_a_pipeline_that_was_put_into_itself_is_shown() -> None:
    pipe = Sequential(double)
    pipe.stages = (*pipe.stages, pipe)
    assert repr(pipe).count("double") == 8
    assert pipe.to_mermaid()


def test_names_cannot_break_the_text() -> None:
    hostile = Function(double, name="a\nb\x1b[31m\u202e")
    lines = repr(Sequential(hostile, name="x\n\x1b")).split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_the_time_is_that_of_the_last_recorded_call() -> None:
    pipe = Sequential(double)
    assert repr(pipe) == "Sequential\n└─ double   Function"
    with recorder.record("call"):
        pipe(1)
    assert repr(pipe).split("\n")[0].endswith("s") and repr(pipe).endswith("s")


# The cell's value and the flowchart


def test_the_cell_has_the_text_the_drawing_and_the_table() -> None:
    pipe = Sequential(Encoder(), Function(double, name="<script>"), name="<b>")
    bundle = pipe._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}  # JupyterLab draws Mermaid only without HTML
    assert bundle["text/plain"] == repr(pipe)
    page = bundle["text/html"]
    assert page.count("minilm") == 2 and "&lt;script&gt;" in page
    assert "<script" not in page and "<b>&lt;b&gt;</b>" in page


def test_an_empty_combinator_is_its_header() -> None:
    assert repr(Sequential()) == "Sequential"
    assert "<table" not in Sequential()._repr_mimebundle_()["text/html"]


def test_a_sequence_as_a_flowchart() -> None:
    assert Sequential(Encoder(), Classifier()).to_mermaid().split("\n") == [
        "flowchart LR",
        '    s0(["text"])',
        '    s1["minilm<br>Encoder · 980 µs"]',
        '    s2["topic<br>Classifier · 210 µs"]',
        '    s3(["Prediction"])',
        "    s0 --> s1",
        '    s1 -->|"float32 [batch, 384]"| s2',
        "    s2 --> s3",
    ]


def test_forks_joins_choices_and_spares_as_a_flowchart() -> None:
    pipe = Sequential(
        Ensemble([double, abs], sum, name="vote"),
        Route(parity, {"odd": abs}, name="way"),
        Fallback(double, abs),
    )
    assert pipe.to_mermaid().split("\n")[1:] == [
        '    s0(["input"])',
        '    s1("vote")',
        '    s2["double<br>Function"]',
        '    s3["abs<br>Function"]',
        '    s4["sum<br>Function"]',
        '    s5{"way<br>choose=parity"}',
        '    s6["abs<br>Function"]',
        '    s7["double<br>Function"]',
        '    s8["abs<br>Function"]',
        '    s9(["output"])',
        "    s0 --> s1",
        "    s1 --> s2",
        "    s1 --> s3",
        "    s2 --> s4",
        "    s3 --> s4",
        "    s4 --> s5",
        '    s5 -->|"odd"| s6',
        "    s6 --> s7",
        '    s7 -->|"else"| s8',
        "    s7 --> s9",
        "    s8 --> s9",
    ]


def test_an_empty_sequence_as_a_flowchart() -> None:
    drawn = ['    s0(["input"])', '    s1(["output"])', "    s0 --> s1"]
    assert Sequential().to_mermaid().split("\n")[1:] == drawn


def test_children_that_are_left_out_are_counted_in_the_flowchart() -> None:
    assert "… 8 more stages" in Sequential(*[double] * 20).to_mermaid()
    assert "… 89 more stages" in Ensemble([double] * 100, sum).to_mermaid()
    assert "… 8 more stages" in Fallback(*[double] * 20).to_mermaid()


# Checks of a whole tree


def test_a_tree_is_checked_again_when_its_models_are_open(tmp_path: Path) -> None:
    for name, width in (("a", 4), ("b", 3)):
        np.savez(tmp_path / f"{name}.npz", W=np.eye(width, 2, dtype=np.float32), b=np.zeros(2))
    models = [Model(tmp_path / "a.npz"), Model(tmp_path / "b.npz")]
    pipe = Sequential(double, Parallel({"both": Sequential(*models), "one": models[0]}))
    check_composition(pipe)
    for model in models:
        model.open()
    with pytest.raises(CompositionError, match="'a' returns"):
        check_composition(pipe)
