"""Classifiers as other tools write them, models that are Python functions, and probabilities that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from conduit_lab.core.errors import ModelLoadError, ModelRunError
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.load import load_model
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.serving import codec

from ..runtime import graphs


def sklearn_like(path: Path, mapped: bool, classes: list[str]) -> Path:
    """Write what converters of scikit-learn write: a label, and probabilities as an array or as maps."""
    scores = [
        graphs.node(
            "LinearClassifier",
            ["x"],
            ["label", "raw"],
            domain="ai.onnx.ml",
            coefficients=[1.0, 0.0, 0.0, 1.0],
            intercepts=[0.0, 0.0],
            classlabels_strings=classes,
            post_transform="SOFTMAX",
        )
    ]
    if mapped:
        scores.append(graphs.node("ZipMap", ["raw"], ["maps"], domain="ai.onnx.ml", classlabels_strings=classes))
        kind = onnx.helper.make_map_type_proto(onnx.TensorProto.STRING, onnx.helper.make_tensor_type_proto(1, []))
        answer = onnx.helper.make_value_info("maps", onnx.helper.make_sequence_type_proto(kind))
    else:
        answer = graphs.value("raw", ["batch", 2])
    return graphs.save(
        path,
        scores,
        [graphs.value("x", ["batch", 2])],
        [graphs.value("label", ["batch"], "str"), answer],
        domains=["ai.onnx.ml"],
    )


@pytest.mark.parametrize("mapped", [True, False])
def test_a_converted_classifier_gives_predictions(tmp_path: Path, mapped: bool) -> None:
    labels = None if mapped else ["down", "up"]
    model = Model(sklearn_like(tmp_path / "m.onnx", mapped, ["down", "up"]), labels=labels)
    one = model.predict([0, 1])
    assert (one.label, list(one.probabilities)) == ("up", ["down", "up"])
    assert one.score == pytest.approx(1 / (1 + np.exp(-1)))
    many = model.predict(np.array([[0, 1], [3, 0]], np.float32))
    assert [p.label for p in many] == ["up", "down"]


def test_without_labels_both_outputs_come_by_name(tmp_path: Path) -> None:
    got = Model(sklearn_like(tmp_path / "m.onnx", False, ["down", "up"])).predict([0, 1])
    assert (got["label"], got["raw"].shape) == ("up", (2,))


@pytest.mark.parametrize("value", [[np.nan, 0, 0], [[0, 0, 0], [np.nan, 0, 0]]])
def test_a_probability_that_is_not_a_number_is_an_error(tmp_path: Path, value: list[object]) -> None:
    labels = {"labels": json.dumps(["a", "b"])}
    model = Model(graphs.linear(tmp_path / "m.onnx", np.ones((3, 2)), labels))
    with pytest.raises(ModelRunError, match="'m' gave NaN for a probability"):
        model.predict(value)


def test_predictions_of_a_batch_are_a_sequence_a_table_and_json() -> None:
    many = Predictions(np.array([[0.25, 0.75], [0.5, 0.5]] * 15, np.float32), ["no", "<b>"])
    assert (len(many), many[0].label, many[-1].label, len(many[2:5])) == (30, "<b>", "no", 3)
    assert many[:2] == [many[0], many[1]]
    assert codec.loads(codec.dumps(many))[0] == {
        "label": "<b>", "score": 0.75, "probabilities": {"no": 0.25, "<b>": 0.75}
    }  # fmt: skip
    bundle = many._repr_mimebundle_()
    assert "10 more rows" in bundle["text/plain"]
    assert "&lt;b&gt;" in bundle["text/html"]
    assert list(many.to_pandas().columns) == ["label", "score", "no", "<b>"]


# Functions


def test_a_function_is_a_model() -> None:
    model = load_model(lambda text: len(text), name="length")
    assert isinstance(model, CallableModel)
    assert (model.predict("kettle"), model.device, repr(model)) == (6, "python", "CallableModel('length', python)")


def test_a_function_with_labels_predicts() -> None:
    def sign(value: float) -> list[float]:
        return [0.9, 0.1] if value < 0 else [0.2, 0.8]

    model = load_model(sign, labels=["down", "up"])
    assert isinstance(model, CallableModel)
    got = model.predict(3)
    assert isinstance(got, Prediction)
    assert (model.name, got.label, got.score) == ("sign", "up", 0.8)
    batch = load_model(lambda rows: [sign(row) for row in rows], labels=["down", "up"])
    assert [p.label for p in batch.predict([1, -1])] == ["up", "down"]  # type: ignore[union-attr]


@pytest.mark.parametrize("answer", [[0.1, 0.2, 0.7], "up", [[[0.1, 0.9]]], [1, 0]])
def test_a_function_whose_answer_does_not_fit_its_labels(answer: object) -> None:
    model = CallableModel(lambda _: answer, labels=["down", "up"], name="odd")
    with pytest.raises(ModelRunError, match=r"'odd' gave .*: wanted 2 probabilities"):
        model.predict(0)


def test_a_variant_of_a_single_file_is_refused(tmp_path: Path) -> None:
    path = graphs.linear(tmp_path / "m.onnx", np.ones((3, 2)))
    with pytest.raises(ModelLoadError, match="variant='int8' chooses among those of a folder"):
        load_model(path, variant="int8")
