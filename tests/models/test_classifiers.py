"""Classifiers from other tools, Python functions as models, and invalid probabilities."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from starlette.testclient import TestClient

from conduit_lab.core.errors import ModelLoadError, ModelRunError
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.load import load_model
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.serving import codec
from conduit_lab.serving.app import App
from tests.runtime import graphs


def sklearn_like(path: Path, mapped: bool, classes: list[str]) -> Path:
    """Write a converted scikit-learn model: a label, and probabilities as an array or as maps."""
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
        scores.append(
            graphs.node(
                "ZipMap", ["raw"], ["maps"], domain="ai.onnx.ml", classlabels_strings=classes
            )
        )
        kind = onnx.helper.make_map_type_proto(
            onnx.TensorProto.STRING, onnx.helper.make_tensor_type_proto(1, [])
        )
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


ML = "ai.onnx.ml"
SCORES = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]], np.float32)


def threshold(
    path: Path,
    mapped: bool,
    classes: list[int],
    *,
    first: str = "label",
    cut: float = 0.3,
    shape: tuple[int | None, ...] = (None,),
) -> Path:
    """Write a classifier that chooses its second class from `cut` on; `shape` is its label's."""
    nodes = [
        graphs.node("Slice", ["p", "one", "two", "one"], ["second"]),
        graphs.node("Greater", ["second", "cut"], ["over"]),
        graphs.node("Where", ["over", "yes", "no"], ["column"]),
        graphs.node("Reshape", ["column", "flat"], ["label"]),
    ]
    constants = [
        graphs.constant("one", np.array([1])),
        graphs.constant("two", np.array([2])),
        graphs.constant("cut", np.array([[cut]], np.float32)),
        graphs.constant("no", np.array([[classes[0]]])),
        graphs.constant("yes", np.array([[classes[1]]])),
        graphs.constant("flat", np.array([-1, *shape[1:]])),
    ]
    if mapped:
        nodes.append(
            graphs.node("ZipMap", ["p"], ["scores"], domain=ML, classlabels_int64s=classes)
        )
        scores = graphs.maps("scores", onnx.TensorProto.INT64)
    else:
        nodes.append(graphs.node("Identity", ["p"], ["scores"]))
        scores = graphs.value("scores", [None, 2])
    outputs = [graphs.value("label", shape, "int64"), scores]
    if first != "label":
        outputs.reverse()
    return graphs.save(
        path, nodes, [graphs.value("p", [None, 2])], outputs, constants, domains=[ML]
    )


@pytest.mark.parametrize("first", ["label", "scores"])
@pytest.mark.parametrize(
    ("mapped", "labels"), [(True, None), (True, ["no", "yes"]), (False, ["no", "yes"])]
)
def test_the_graphs_own_label_counts(
    tmp_path: Path, mapped: bool, labels: list[str] | None, first: str
) -> None:
    model = Model(threshold(tmp_path / "m.onnx", mapped, [0, 1], first=first), labels=labels)
    no, yes = labels or ["0", "1"]
    many = model.predict(SCORES)
    assert [p.label for p in many] == [yes, no, yes]
    assert [p.score for p in many] == pytest.approx([0.4, 0.9, 0.8])
    assert many[0].probabilities == pytest.approx({no: 0.6, yes: 0.4})
    assert [p.label for p in many[1:]] == [no, yes]
    one = model.predict(SCORES[0])
    assert (one.label, one.score) == (yes, pytest.approx(0.4))
    assert [p.label for p in model.batch(list(SCORES))] == [yes, no, yes]
    assert codec.loads(codec.dumps(many))[0] == dict(one)
    frame = model.predict(pd.DataFrame(SCORES, index=list("abc")))
    assert list(frame["label"]) == [yes, no, yes]
    assert list(frame["score"]) == pytest.approx([0.4, 0.9, 0.8])


@pytest.mark.parametrize("mapped", [True, False])
def test_a_label_may_be_a_column(tmp_path: Path, mapped: bool) -> None:
    path = threshold(tmp_path / "m.onnx", mapped, [0, 1], shape=(None, 1))
    many = Model(path, labels=["no", "yes"]).predict(SCORES)
    assert [p.label for p in many] == ["yes", "no", "yes"]


def test_a_label_is_told_by_the_classes_of_the_graph_not_by_its_number(tmp_path: Path) -> None:
    model = Model(threshold(tmp_path / "m.onnx", True, [5, 3]), labels=["five", "three"])
    assert [p.label for p in model.predict(SCORES)] == ["three", "five", "three"]
    assert model.predict(SCORES[1]).probabilities == pytest.approx({"five": 0.9, "three": 0.1})


def test_a_label_that_is_no_class_is_kept(tmp_path: Path) -> None:
    path = threshold(tmp_path / "m.onnx", False, [-1, 1])  # -1: the model abstains
    got = Model(path, labels=["no", "yes"]).predict(SCORES)
    assert [(p.label, p.score) for p in got] == [
        ("yes", pytest.approx(0.4)),
        ("-1", 0.0),
        ("yes", pytest.approx(0.8)),
    ]


@pytest.mark.parametrize("mapped", [True, False])
def test_words_are_the_graphs_own_labels_too(tmp_path: Path, mapped: bool) -> None:
    path = sklearn_like(tmp_path / "m.onnx", mapped, ["up", "down"])
    model = graphs.load(path)
    negative = graphs.node("Neg", ["x"], ["n"])
    model.graph.node.insert(0, negative)
    model.graph.node[1].input[0] = "n"
    model.graph.node[1].output[1] = "unused"
    model.graph.node.insert(2, graphs.node("Softmax", ["x"], ["raw"], axis=1))
    path.write_bytes(model.SerializeToString())
    got = Model(path, labels=None if mapped else ["up", "down"]).predict([[0, 1], [3, 0]])
    assert [p.label for p in got] == ["up", "down"]  # the least likely
    assert got[0].score == pytest.approx(1 / (1 + np.e))


def test_one_score_of_two_classes_is_the_second_ones(tmp_path: Path) -> None:
    nodes = [graphs.node("Sigmoid", ["x"], ["p"])]
    path = graphs.save(
        tmp_path / "m.onnx", nodes, [graphs.value("x", ["n", 1])], [graphs.value("p", ["n", 1])]
    )
    model = Model(path, labels=["no", "yes"])
    got = model.predict([[0.0], [2.0], [-2.0]])
    assert [p.label for p in got] == ["no", "yes", "no"]
    assert model.predict([2.0]).probabilities == pytest.approx(
        {"no": 1 / (1 + np.exp(2)), "yes": 1 / (1 + np.exp(-2))}
    )


@pytest.mark.parametrize("mapped", [True, False])
def test_several_labels_per_sample_stay_as_they_are(tmp_path: Path, mapped: bool) -> None:
    nodes = [
        graphs.node("Greater", ["p", "half"], ["over"]),
        graphs.node("Cast", ["over"], ["label"], to=7),
    ]
    if mapped:
        nodes.append(
            graphs.node("ZipMap", ["p"], ["scores"], domain=ML, classlabels_strings=["a", "b"])
        )
    else:
        nodes.append(graphs.node("Identity", ["p"], ["scores"]))
    scores = graphs.maps("scores") if mapped else graphs.value("scores", [None, 2])
    half = graphs.constant("half", np.array(0.5, np.float32))
    outputs = [graphs.value("label", [None, 2], "int64"), scores]
    path = graphs.save(
        tmp_path / "m.onnx", nodes, [graphs.value("p", [None, 2])], outputs, [half], domains=[ML]
    )
    model = Model(path, labels=None if mapped else ["a", "b"])
    one = model.predict([0.9, 0.8])
    assert one["label"].tolist() == [1, 1]
    expected = {"a": 0.9, "b": 0.8} if mapped else [0.9, 0.8]
    assert one["scores"] == pytest.approx(expected)
    assert model.predict([[0.9, 0.8], [0.1, 0.7]])["label"].tolist() == [[1, 1], [0, 1]]


def test_every_target_of_a_classifier_of_several(tmp_path: Path) -> None:
    model = Model(graphs.targets(tmp_path / "m.onnx"))
    rows = np.array([[1, 2], [3, 0], [0, 0]], np.float32)
    many, one = model.predict(rows), model.predict(rows[0])
    up = 1 / (1 + np.e)
    assert one["label"].tolist() == [1, 0]
    np.testing.assert_allclose(one["probabilities"], [[up, 1 - up], [1 - up, up]], rtol=1e-6)
    assert [array.shape for array in many["probabilities"]] == [(3, 2), (3, 2)]
    for i, got in enumerate(model.batch(list(rows))):
        np.testing.assert_allclose(
            got["probabilities"], [array[i] for array in many["probabilities"]], rtol=1e-6
        )
    frame = model.predict(pd.DataFrame(rows))
    assert list(frame.columns)[:4] == [
        "label_0",
        "label_1",
        "probabilities_0_0",
        "probabilities_0_1",
    ]
    np.testing.assert_allclose(frame["probabilities_1_0"], many["probabilities"][1][:, 0])
    assert [array.shape for array in model.predict(rows[:0])["probabilities"]] == [(0, 2), (0, 2)]


@pytest.mark.parametrize("mapped", [True, False])
def test_no_rows_are_no_predictions(tmp_path: Path, mapped: bool) -> None:
    path = threshold(tmp_path / "m.onnx", mapped, [0, 1])
    none = Model(path, labels=None if mapped else ["0", "1"]).predict(np.zeros((0, 2), np.float32))
    assert isinstance(none, Predictions)
    assert (len(none), none.labels, codec.dumps(none)) == (0, ["0", "1"], b"[]")
    assert list(none.to_pandas().columns) == ["label", "score", "0", "1"]
    assert repr(none)


def test_no_rows_over_http(tmp_path: Path) -> None:
    app = App("empty", root=tmp_path)
    threshold(tmp_path / "m.onnx", True, [0, 1])
    app.ml_endpoint("/predict", model="m.onnx")(
        lambda input_data: np.array(input_data, np.float32).reshape(-1, 2)
    )
    with TestClient(app) as client:
        answer = client.post("/predict", json=[])
    assert (answer.status_code, answer.json()) == (200, [])


def test_without_labels_both_outputs_come_by_name(tmp_path: Path) -> None:
    got = Model(sklearn_like(tmp_path / "m.onnx", False, ["down", "up"])).predict([0, 1])
    assert (got["label"], got["raw"].shape) == ("up", (2,))


@pytest.mark.parametrize("value", [[np.nan, 0, 0], [[0, 0, 0], [np.nan, 0, 0]]])
def test_a_probability_that_is_not_a_number_is_an_error(
    tmp_path: Path, value: list[object]
) -> None:
    labels = {"labels": json.dumps(["a", "b"])}
    model = Model(graphs.linear(tmp_path / "m.onnx", np.ones((3, 2)), labels))
    with pytest.raises(ModelRunError, match="'m' returned NaN for a probability"):
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
    assert (model.predict("kettle"), model.device, repr(model)) == (
        6,
        "python",
        "CallableModel('length', python)",
    )


def test_a_function_with_labels_predicts() -> None:
    def sign(value: float) -> list[float]:
        return [0.9, 0.1] if value < 0 else [0.2, 0.8]

    model = load_model(sign, labels=["down", "up"])
    assert isinstance(model, CallableModel)
    got = model.predict(3)
    assert isinstance(got, Prediction)
    assert (model.name, got.label, got.score) == ("sign", "up", 0.8)
    batch = load_model(lambda rows: [sign(row) for row in rows], labels=["down", "up"])
    assert [p.label for p in batch.predict([1, -1])] == ["up", "down"]


@pytest.mark.parametrize("answer", [[0.1, 0.2, 0.7], "up", [[[0.1, 0.9]]], [1, 0]])
def test_a_function_whose_answer_does_not_fit_its_labels(answer: object) -> None:
    model = CallableModel(lambda _: answer, labels=["down", "up"], name="odd")
    with pytest.raises(ModelRunError, match=r"'odd' gave .*: expected 2 probabilities"):
        model.predict(0)


def test_a_variant_of_a_single_file_is_refused(tmp_path: Path) -> None:
    path = graphs.linear(tmp_path / "m.onnx", np.ones((3, 2)))
    with pytest.raises(ModelLoadError, match="variant='int8' chooses among those of a folder"):
        load_model(path, variant="int8")
