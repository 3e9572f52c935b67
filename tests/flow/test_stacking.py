"""stacking: a model over the outputs of the members."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import CompositionError, InputError
from conduit_lab.core.stage import Function
from conduit_lab.core.trace import recorder
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.stacking import stacking
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction, Predictions
from tests.runtime import graphs


def vote(**probabilities: float) -> Prediction:
    return Prediction.from_array(np.array(list(probabilities.values())), list(probabilities))


@pytest.fixture
def meta(tmp_path: Path) -> Model:
    """A linear model: float32 [batch, 3] in, [batch, 2] out."""
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    return Model(graphs.linear(tmp_path / "meta.onnx", weight)).open()


def test_the_meta_model_takes_the_members_outputs_in_order() -> None:
    answers = [vote(a=0.25, b=0.75), np.array([[1, 2]])[0], 3, True]
    got = stacking(lambda features: features)(answers)
    assert got.tolist() == [0.25, 0.75, 1, 2, 3, 1]


def test_the_features_have_the_dtype_of_the_meta_models_input(meta: Model) -> None:
    ensemble = Ensemble(
        [lambda value: Prediction("a", 0.1, {"a": 0.1, "b": 0.9}), lambda value: value],
        stacking(meta),
    )
    np.testing.assert_allclose(ensemble(2.0), [0 * 0.1 + 2 * 0.9 + 8, 0.1 + 3 * 0.9 + 10])
    assert stacking(meta).features([1.0, 2.0, 3.0]).dtype == np.float32
    assert stacking(abs).features([1.0]).dtype == np.float64


def test_a_batch_has_one_row_of_features_per_sample() -> None:
    stack = stacking(lambda features: features)
    batch = Predictions(np.array([[0.25, 0.75], [1.0, 0.0]]), ["a", "b"])
    assert stack([batch, np.array([5, 6])]).tolist() == [[0.25, 0.75, 5], [1, 0, 6]]
    assert stack([list(batch), np.ones((2, 1, 1))]).tolist() == [[0.25, 0.75, 1], [1, 0, 1]]


def test_the_meta_model_is_awaited(meta: Model) -> None:
    async def answer(value: Any) -> Any:
        await asyncio.sleep(0)
        return value * 2

    ensemble = Ensemble([abs, abs], stacking(answer))

    async def call() -> Any:
        return await ensemble.acall(-3)

    assert asyncio.run(call()).tolist() == [6, 6]


def test_the_meta_model_is_a_child_and_a_span() -> None:
    meta = Function(sum, "meta")
    stack = stacking(meta, name="mine")
    assert stack.children == (meta,)
    with recorder.record("call") as recorded:
        assert Ensemble([abs], stack)(-1) == 1
    assert [span.name for span in recorded] == ["call", "ensemble", "abs", "mine", "meta"]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([1.0, "a"], "stacking expected predictions, .* got str from member 2"),
        ([np.ones((2, 3)), np.ones((3, 3))], r"one batch, got shapes \[2, 3\], \[3, 3\]"),
        ([np.ones((2, 3)), 1.0], r"one batch, got shapes \[2, 3\], \[\]"),
        ([[vote(a=1.0), vote(b=1.0)]], "got list from member 1"),
        ([[[1], [1, 2]]], "got list from member 1"),
    ],
)
def test_answers_without_numbers_are_an_error(answers: list[Any], message: str) -> None:
    with pytest.raises(CompositionError, match=message):
        stacking(abs)(answers)


def test_an_empty_list_is_the_callers_mistake() -> None:
    with pytest.raises(InputError, match="at least one answer, got none"):
        stacking(abs)([])
