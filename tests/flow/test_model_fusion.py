"""A sequence whose neighbouring models are fused: it answers as before, and reports on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.spec import Array
from conduit_lab.flow.sequential import Sequential
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction
from conduit_lab.runtime.measuring.timing import Turns
from conduit_lab.runtime.rewriting import graph_fusion
from tests.runtime import graphs

SAMPLE = np.arange(4, dtype=np.float32)
BATCH = np.arange(12, dtype=np.float32).reshape(3, 4)
LABELS = ["no", "yes", "maybe", "never"]


def model(folder: Path, name: str, labels: list[str] | None = None, **options: Any) -> Model:
    """Return a linear model of 4 numbers to 4; `labels` lie in its file."""
    weight = np.random.default_rng(len(name) + ord(name[0])).standard_normal((4, 4), np.float32)
    metadata = {"labels": json.dumps(labels)} if labels else None
    return Model(graphs.linear(folder / f"{name}.onnx", weight, metadata), **options)


def twice(value: Array) -> Array:
    return value * 2


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The measured time of a fused graph, as a share of the old; no test needs a real clock."""
    share = [0.5]
    monkeypatch.setattr(
        graph_fusion, "in_turn", lambda before, after: Turns(1e-5, share[0] * 1e-5, share[0])
    )
    return share


@pytest.mark.parametrize("value", [SAMPLE, BATCH, BATCH.tolist(), {"input": SAMPLE}, BATCH[:0]])
def test_answers_as_before(tmp_path: Path, value: Any) -> None:
    sequence = Sequential(
        model(tmp_path, "a"), model(tmp_path, "b"), model(tmp_path, "c"), name="three"
    )
    fused = sequence.fused(SAMPLE)
    assert [stage.name for stage in fused.stages] == ["a + b + c"]
    assert fused.name == "three"
    np.testing.assert_array_equal(fused(value), sequence(value))


def test_a_fused_model_is_a_model_in_one_file(tmp_path: Path) -> None:
    (stage,) = Sequential(model(tmp_path, "a"), model(tmp_path, "b")).fused(SAMPLE).stages
    assert isinstance(stage, Model)
    assert stage.path == tmp_path / "a+b.onnx"
    np.testing.assert_array_equal(Model(stage.path).predict(BATCH), stage.predict(BATCH))


def test_a_python_stage_parts_its_neighbours(tmp_path: Path) -> None:
    sequence = Sequential(
        model(tmp_path, "a"),
        model(tmp_path, "b"),
        twice,
        model(tmp_path, "c"),
        model(tmp_path, "d"),
    )
    fused = sequence.fused(SAMPLE, BATCH)
    assert [stage.name for stage in fused.stages] == ["a + b", "twice", "c + d"]
    np.testing.assert_array_equal(fused(BATCH), sequence(BATCH))


def test_stages_after_the_last_models_are_not_called(tmp_path: Path) -> None:
    called: list[Any] = []
    sequence = Sequential(model(tmp_path, "a"), model(tmp_path, "b"), called.append)
    assert len(sequence.fused(SAMPLE).stages) == 2
    assert called == []


def test_the_labels_of_the_last_stay(tmp_path: Path) -> None:
    for last in (model(tmp_path, "own", LABELS), model(tmp_path, "given", labels=LABELS)):
        sequence = Sequential(model(tmp_path, "a"), last)
        fused = sequence.fused(SAMPLE)
        assert len(fused.stages) == 1
        got = fused(SAMPLE)
        assert isinstance(got, Prediction)
        assert dict(got) == dict(sequence(SAMPLE))


def test_a_model_with_labels_stays_apart_from_what_follows(tmp_path: Path) -> None:
    best = lambda prediction: BATCH[LABELS.index(prediction.label) % 3]  # noqa: E731
    sequence = Sequential(model(tmp_path, "a", LABELS), best, model(tmp_path, "b"))
    assert len(sequence.fused(SAMPLE).stages) == 3


def test_what_was_not_fused_is_told_with_the_reason(tmp_path: Path) -> None:
    other = model(tmp_path, "b", timeout=5.0)
    report = (
        Sequential(model(tmp_path, "a"), other, model(tmp_path, "c", timeout=5.0))
        .fused(SAMPLE)
        .fusion
    )
    assert [(fusion.names, bool(fusion.path)) for fusion in report] == [
        (("a", "b"), False),
        (("b", "c"), True),
    ]
    assert "other options" in report[0].reason


def test_a_fixed_batch_is_kept_to(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 4), np.float32)
    pair = [Model(graphs.linear(tmp_path / f"{name}.onnx", weight, batch=3)) for name in "ab"]
    assert len(Sequential(*pair).fused(np.concatenate([BATCH, BATCH])).stages) == 1


def test_what_is_not_faster_stays_as_it_was(tmp_path: Path, clock: list[float]) -> None:
    clock[0] = 1.2
    sequence = Sequential(model(tmp_path, "a"), model(tmp_path, "b"))
    fused = sequence.fused(SAMPLE)
    assert fused.stages == sequence.stages
    assert "not faster" in repr(fused.fusion)


def test_weights_of_numpy_are_not_fused(tmp_path: Path) -> None:
    np.savez(tmp_path / "n.npz", W0=np.eye(4, dtype=np.float32))
    fused = Sequential(model(tmp_path, "a"), Model(tmp_path / "n.npz")).fused(SAMPLE)
    assert len(fused.stages) == 2
    assert "n is not an ONNX file" in repr(fused.fusion)


def test_a_sequence_that_was_not_fused_has_nothing_to_tell(tmp_path: Path) -> None:
    assert Sequential(twice, twice).fusion == ()
    assert Sequential(twice, twice).fused(SAMPLE).fusion == ()
