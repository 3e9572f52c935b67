"""Fit: stages that cannot work together are refused, and no others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import CompositionError, InputError
from conduit_lab.core.spec import TEXT_SPEC, TensorSpec, ValueSpec
from conduit_lab.core.stage import Stage
from conduit_lab.flow.averages import weighted
from conduit_lab.flow.cached import Cached
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.route import Route
from conduit_lab.flow.sequential import Sequential
from conduit_lab.flow.stacking import stacking
from conduit_lab.flow.votes import majority_vote
from conduit_lab.models.answers import Answers
from conduit_lab.models.inputs import Inputs
from conduit_lab.models.model import Model
from conduit_lab.runtime.rows.layout import Layout


class Known(Stage):
    """A stage whose values are known."""

    def __init__(
        self, name: str, takes: tuple[TensorSpec, ...] | None = None, gives: ValueSpec = None
    ) -> None:
        self.name = name
        self._takes = takes
        self._gives = gives

    @property
    def takes(self) -> tuple[TensorSpec, ...] | None:
        return self._takes

    @property
    def gives(self) -> ValueSpec:
        return self._gives

    def run(self, value: Any) -> Any:
        return value


def spec(*axes: int | str, name: str = "x", dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, axes)


def follow(gives: ValueSpec, *takes: TensorSpec) -> Sequential:
    return Sequential(Known("before", gives=gives), Known("after", takes))


def classifier(path: Path, width: int, *, labels: bool = True) -> Model:
    """A softmax of `width` inputs, opened."""
    weights = np.eye(width, 2, dtype=np.float32)
    arrays = {"W": weights, "b": np.zeros(2, np.float32)}
    if labels:
        arrays["labels"] = np.array(["a", "b"])
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return Model(path)


# Sure misfits


def test_the_error_names_both_sides_and_the_next_step() -> None:
    before = Known("minilm", (TEXT_SPEC,), (spec("batch", 384),))
    expected = (
        r"Sequential: 'minilm' returns float32 \[batch, 384\], 'topic' expects float32 "
        r"\[batch, 256\]\. Convert it in between: Sequential\(minilm, convert, topic\)"
    )
    with pytest.raises(CompositionError, match=expected):
        Sequential(before, Known("topic", (spec("batch", 256),)))


@pytest.mark.parametrize(
    ("gives", "takes"),
    [
        ((spec("batch", 384),), (spec("batch", 256),)),
        ((spec("batch", "tokens", 384),), (spec("batch", 256),)),
        ((spec("batch", 3, 32, 32),), (spec("batch", 10),)),
        ((spec("batch", 4),), (TEXT_SPEC,)),
        ((TEXT_SPEC,), (spec("batch", 4),)),
        ((spec("batch", 4),), (spec("batch", 4, dtype="int64"),)),
        ((spec("batch", 4),), (spec("batch", 4, dtype="bool"),)),
        ("Prediction", (spec("batch", 4),)),
        ("Prediction", (TEXT_SPEC,)),
        ("dict", (spec("batch", 4),)),
        ((spec("batch", 4, name="a"), spec("batch", 4, name="b")), (spec("batch", 4, name="a"),)),
        ((spec("batch", 4),), (spec("batch", 4, name="a"), spec("batch", 4, name="b"))),
        (
            (spec("batch", 4, name="a"), spec("batch", 4, name="b")),
            (spec("batch", 4, name="a"), spec("batch", 5, name="b")),
        ),
    ],
)
def test_a_sure_misfit_is_refused(gives: ValueSpec, takes: tuple[TensorSpec, ...]) -> None:
    with pytest.raises(CompositionError, match=r"'before' returns .*, 'after' expects "):
        follow(gives, *takes)


@pytest.mark.parametrize(
    ("gives", "takes"),
    [
        (None, (spec("batch", 4),)),
        ((spec("batch", 4),), None),
        ((spec("batch", 4),), (spec("n", 4, dtype="float64"),)),
        ((spec("batch", 4, dtype="int64"),), (spec("batch", 4),)),
        ((spec("batch", 4),), (spec("batch", "features"),)),
        ((spec("batch", 384),), (spec("batch", "tokens", 384),)),  # a batch as one sample
        ((spec(1, 4),), (spec("batch", 4),)),
        ((TensorSpec("x", "float32", (), ranked=False),), (spec("batch", 4),)),
        ((spec("batch", 4, dtype="bfloat16"),), (spec("batch", 4),)),
        ((spec("batch", dtype="str"),), (TEXT_SPEC,)),
        ("Prediction", (spec("batch", name="label"), spec("batch", name="score"))),
        ("dict", (TEXT_SPEC,)),  # a pair of texts
        (
            (spec("batch", 4, name="b"), spec("batch", 4, name="a")),
            (spec("batch", 4, name="a"), spec("batch", 4, name="b")),
        ),
        # of a DataFrame
        ((spec("batch", 4, 4),), (spec("batch", 16),)),
        ((spec("batch", 2),), (spec("batch", name="x_0"), spec("batch", name="x_1"))),
    ],
)
def test_everything_else_is_composed(gives: ValueSpec, takes: tuple[TensorSpec, ...]) -> None:
    pipe = Sequential(Known("before", gives=gives), Known("after", takes))
    assert len(pipe.children) == 2


AXES = st.one_of(st.integers(1, 3), st.sampled_from(["batch", "n"]))
SPECS = st.builds(
    TensorSpec,
    st.sampled_from(["x", "x_0"]),
    st.sampled_from(["float32", "float64", "int64", "int8", "bool", "str"]),
    st.lists(AXES, max_size=2).map(lambda axes: ("batch", *axes)),
)


@settings(max_examples=150, deadline=None)
@given(SPECS, SPECS, st.sampled_from(["one", "batch", "frame"]), st.data())
def test_what_a_model_takes_is_never_refused(
    gives: TensorSpec, takes: TensorSpec, form: str, data: st.DataObject
) -> None:
    sizes = {axis: data.draw(st.integers(1, 3)) for axis in ("batch", "n")}
    shape = [axis if isinstance(axis, int) else sizes[axis] for axis in gives.shape]
    output = np.full(shape, "1") if gives.dtype == "str" else np.ones(shape, gives.dtype)
    layout = Layout.of_specs((takes,), ())
    answers = Answers("before", (gives,), None, (0,))
    value = (
        answers.frame([output], pd.RangeIndex(len(output)))
        if form == "frame"
        else answers.of([output.astype(object) if gives.dtype == "str" else output], form == "one")
    )
    try:
        Inputs("after", (takes,), layout).feeds(value)
    except InputError:
        assume(False)
    follow((gives,), takes)


# Members on the same value


@pytest.mark.parametrize(
    ("compose", "kind"),
    [
        (lambda a, b: Ensemble([a, abs, b], max), "Ensemble"),
        (lambda a, b: Fallback(a, b), "Fallback"),
        (lambda a, b: Parallel({"a": a, "b": b}), "Parallel"),
    ],
)
def test_members_must_be_able_to_take_one_value(compose: Any, kind: str) -> None:
    first, other = Known("m1", (spec("batch", 4),)), Known("m3", (spec("batch", 8),))
    text = Known("text", (TEXT_SPEC,))
    expected = rf"{kind}: 'm1' expects float32 \[batch, 4\], 'm3' expects float32 \[batch, 8\], and"
    with pytest.raises(CompositionError, match=expected):
        compose(first, other)
    with pytest.raises(CompositionError, match=r"'m1' expects .*, 'text' expects text"):
        compose(first, text)
    assert compose(first, Known("m2", (spec("n", "features", dtype="float64"),))).inputs


def test_the_members_of_a_route_may_take_different_values() -> None:
    known = {"a": Known("a", (spec("batch", 4),)), "b": Known("b", (spec("batch", 8),))}
    assert Route(str, known).inputs == ()
    assert Route(str, {"a": known["a"]}).inputs == (spec("batch", 4),)


def test_members_with_several_inputs_share_those_of_one_name() -> None:
    def member(width: int) -> Known:
        return Known("m", (spec("batch", width, name="a"), spec("batch", width, name=str(width))))

    assert len(Fallback(member(4), member(4)).inputs) == 2
    with pytest.raises(CompositionError, match=r"'m' expects a float32 \[batch, 4\], 4 float32"):
        Fallback(member(4), member(5))
    assert Fallback(member(4), Known("one", (spec("batch", 2),))).inputs  # columns of a DataFrame


# Specs of combinators


def test_a_combinator_takes_and_gives_what_its_stages_do() -> None:
    encode = Known("encode", (TEXT_SPEC,), (spec("batch", 4),))
    topic = Known("topic", (spec("batch", 4),), "Prediction")
    scores = Known("scores", (spec("batch", 4),), (spec("batch", 2, name="y"),))
    read = Sequential(encode, topic)
    assert (read.takes, read.gives, read.outputs) == ((TEXT_SPEC,), "Prediction", ())
    both = Sequential(encode, scores)
    assert (both.inputs, both.outputs) == ((TEXT_SPEC,), (spec("batch", 2, name="y"),))
    assert (Sequential().takes, Sequential().gives) == (None, None)
    assert Fallback(topic, topic).gives == "Prediction"
    assert Fallback(topic, scores).gives is None
    way = Route(str, {"a": topic, "b": topic})
    assert (way.takes, way.gives) == (topic.takes, topic.gives)
    named = Parallel({"a": scores, "b": scores}).gives
    assert named == (spec("batch", 2, name="a"), spec("batch", 2, name="b"))
    assert Parallel({"a": scores, "b": topic}).gives == "dict"
    assert Parallel({"a": scores}).gives is None
    best = Ensemble([topic, topic], max)
    assert (best.takes, best.gives) == (topic.takes, None)
    for combine in (majority_vote, weighted([1, 2]), stacking(topic)):
        assert Ensemble([topic, topic], combine).gives == "Prediction"
    assert Ensemble([topic, scores], majority_vote).gives is None
    assert stacking(topic).takes is None
    cached = Cached(topic)
    assert (cached.takes, cached.gives) == (topic.takes, topic.gives)
    assert Parallel({"a": abs, "b": topic}).inputs == topic.takes


def test_nested_combinators_are_checked_against_their_neighbours() -> None:
    encode = Known("encode", (TEXT_SPEC,), (spec("batch", 4),))
    wide = Known("wide", (spec("batch", 8),))
    with pytest.raises(
        CompositionError, match=r"'encode' returns .* 'spare' expects float32 \[batc"
    ):
        Sequential(encode, Fallback(wide, abs, name="spare"))


# Models


def test_a_model_with_labels_gives_predictions(tmp_path: Path) -> None:
    topic = classifier(tmp_path / "topic.npz", 4).open()
    plain = classifier(tmp_path / "plain.npz", 2, labels=False).open()
    assert topic.gives == "Prediction"
    assert plain.gives == plain.outputs
    expected = (
        r"'topic' returns Prediction, 'plain' expects float32 \[batch, 2\]\. Pass its "
        r"probabilities on: Sequential\(topic, lambda answer: "
        r"\[\*answer\.probabilities\.values\(\)\], plain\)"
    )
    with pytest.raises(CompositionError, match=expected):
        Sequential(topic, plain)
    mended = Sequential(topic, lambda answer: [*answer.probabilities.values()], plain)
    assert mended(np.ones(4, np.float32)).shape == (2,)


def test_composing_opens_nothing_and_the_first_value_that_does_not_fit_finds_the_misfit(
    tmp_path: Path,
) -> None:
    first = classifier(tmp_path / "first.npz", 4, labels=False)
    other = classifier(tmp_path / "other.npz", 3, labels=False)
    pipe = Sequential(first, other)
    assert (pipe.inputs, pipe.outputs) == ((), ())
    assert repr(pipe) and first.held is None and other.held is None
    expected = r"'first' returns float32 \[batch, 2\], 'other' expects float32 \[batch, 3\]"
    with pytest.raises(CompositionError, match=expected):
        pipe(np.ones(4, np.float32))


def test_bad_input_stays_the_callers_mistake(tmp_path: Path) -> None:
    first = classifier(tmp_path / "first.npz", 4, labels=False)
    pipe = Sequential(first, classifier(tmp_path / "other.npz", 2))
    with pytest.raises(InputError, match="'first' expects"):
        pipe(np.ones(5, np.float32))


def test_the_misfit_is_found_in_an_event_loop_too(tmp_path: Path) -> None:
    first = classifier(tmp_path / "first.npz", 4, labels=False)
    pipe = Sequential(first, classifier(tmp_path / "other.npz", 3))

    async def call() -> Any:
        return await pipe.acall(np.ones(4, np.float32))

    with pytest.raises(CompositionError, match="'first' returns"):
        asyncio.run(call())


def test_a_misfit_before_a_stream_is_found_too(tmp_path: Path) -> None:
    first = classifier(tmp_path / "first.npz", 4, labels=False)
    pipe = Sequential(first, classifier(tmp_path / "other.npz", 3), abs)
    with pytest.raises(CompositionError, match="'first' returns"):
        pipe.stream(np.ones(4, np.float32))
