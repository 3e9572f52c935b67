"""Model: its inputs, refused inputs, and its labels and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper

from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction
from conduit_lab.serving import codec


def save(
    path: Path,
    kinds: tuple[int, ...] = (TensorProto.FLOAT,),
    labels: object = None,
    width: int = 3,
) -> Path:
    """Write a graph that returns each of its inputs, `[batch, width]`."""
    names = [f"x{i}" for i in range(len(kinds))]
    ins = [
        helper.make_tensor_value_info(n, k, ["batch", width])
        for n, k in zip(names, kinds, strict=True)
    ]
    outs = [
        helper.make_tensor_value_info(f"y{n}", k, ["batch", width])
        for n, k in zip(names, kinds, strict=True)
    ]
    nodes = [helper.make_node("Identity", [n], [f"y{n}"]) for n in names]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ins, outs), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 10
    if labels is not None:
        helper.set_model_props(
            model, {"labels": labels if isinstance(labels, str) else json.dumps(labels)}
        )
    onnx.save(model, path)
    return path


@pytest.fixture
def echo(tmp_path: Path) -> Model:
    return Model(save(tmp_path / "echo.onnx"))


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ([1, 2, 3], (3,)),
        ([[1.5, 2, 3]], (1, 3)),
        ([[1, 2, 3], [4, 5, 6]], (2, 3)),
        (np.ones(3, np.float32), (3,)),
        (np.ones((4, 3)), (4, 3)),
        (np.zeros((0, 3), np.float32), (0, 3)),
        ({"x0": [1, 2, 3]}, (3,)),
        (np.array([True, False, True]), (3,)),
    ],
)
def test_takes_samples_and_batches_and_gives_back_what_matches(
    echo: Model, value: Any, shape: tuple[int, ...]
) -> None:
    got = echo.predict(value)
    assert (got.shape, got.dtype) == (shape, np.float32)
    np.testing.assert_allclose(
        got, np.asarray(value["x0"] if isinstance(value, dict) else value, np.float32)
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            np.zeros((1, 2), np.float32),
            r"'echo' expects x0 float32 \[batch, 3\], got float32 \[1, 2\]",
        ),
        (np.zeros((1, 1, 3), np.float32), r"got float32 \[1, 1, 3\]"),
        ([[1, 2, 3], [4]], "lists of unequal length"),
        ("kettle", r"float32 \[batch, 3\], got a text: encode it first, echo\.predict\(embedder"),
        (["a kettle", "a lamp"], r"got 2 texts: encode them first.*encode\(texts\)"),
        (b"kettle", r"got \|S6 \[\]"),
        (None, "got object"),
        ({"y": [1, 2, 3]}, "expects the inputs x0, got y"),
        ({}, "got none"),
        (np.array([2**40 + 1, 0, 0]), r"cast it yourself with \.astype\('float32'\)"),
        (np.array([1e300, 0, 0]), r"float32 cannot hold: its largest is 3\.4e\+38"),
        ([1e300, 0, 0], "float32 cannot hold: its largest"),
        (np.array([1j, 0, 0]), "got complex128"),
    ],
)
def test_refuses_what_does_not_fit_by_name(echo: Model, value: Any, words: str) -> None:
    with pytest.raises(ModelInputError, match=words):
        echo.predict(value)


@pytest.mark.parametrize(
    "value", [np.array([300, 0, 0]), np.array([-1, 0, 0]), np.array([1.0, 0, 0]), [1.5, 0, 0]]
)
def test_integers_are_never_cut(tmp_path: Path, value: Any) -> None:
    model = Model(save(tmp_path / "bytes.onnx", (TensorProto.UINT8,)))
    assert model.predict([255, 0, 1]).tolist() == [255, 0, 1]
    with pytest.raises(ModelInputError, match="'bytes' expects x0 uint8"):
        model.predict(value)


def test_a_foreign_byte_order_is_read_right(echo: Model) -> None:
    assert echo.predict(np.array([1, 2, 3], ">f4")).tolist() == [1, 2, 3]


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(0, 5), st.just(3)),
        elements=st.floats(width=32, allow_nan=False),
    )
)
def test_a_batch_is_its_samples(batch: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    dense = Model(Path(__file__).parents[2] / "data/models/m1.npz")
    wide = np.tile(np.clip(batch, -1, 1), (1, 128))
    together, alone = dense.predict(wide), [dense.predict(row) for row in wide]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(
            list(a.probabilities.values()), list(b.probabilities.values()), rtol=1e-4, atol=1e-6
        )


def test_several_inputs_and_outputs_go_by_name(tmp_path: Path) -> None:
    model = Model(save(tmp_path / "two.onnx", (TensorProto.FLOAT, TensorProto.INT64)))
    got = model.predict({"x0": [1, 2, 3], "x1": [4, 5, 6]})
    assert {name: value.tolist() for name, value in got.items()} == {
        "yx0": [1, 2, 3],
        "yx1": [4, 5, 6],
    }
    with pytest.raises(ModelInputError, match="has 2 inputs: pass a dict with x0, x1"):
        model.predict([1, 2, 3])


def test_labels_come_from_the_metadata_the_weights_or_the_argument(tmp_path: Path) -> None:
    own = Model(save(tmp_path / "a.onnx", labels=["r", "g", "b"]))
    assert own.predict([0.1, 0.7, 0.2]).label == "g"
    assert [p.label for p in own.predict([[1, 0, 0], [0, 0, 1]])] == ["r", "b"]
    given_ = Model(own.path, labels=["1", "2", "3"])
    assert given_.predict([0.1, 0.7, 0.2]).label == "2"
    weights = Model(Path(__file__).parents[2] / "data/models/mood.npz")
    assert weights.labels == ["angry", "neutral", "pleased"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", "b"], "gives 3 classes, got 2 labels: expected one per class"),
        ("no", "not a JSON list"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: object, words: str) -> None:
    with pytest.raises(ModelLoadError, match=words):
        Model(save(tmp_path / "a.onnx", labels=labels)).open()


def test_a_prediction_is_a_mapping_with_the_same_json() -> None:
    prediction = Prediction.from_array(np.array([0.25, 0.75], np.float32), ["no", "yes"])
    assert dict(prediction) == {
        "label": "yes",
        "score": 0.75,
        "probabilities": {"no": 0.25, "yes": 0.75},
    }
    assert codec.loads(codec.dumps(prediction)) == dict(prediction)
    assert repr(prediction) == "Prediction('yes', 0.750)"
    with pytest.raises(KeyError, match="label, score and probabilities"):
        prediction["confidence"]


def test_is_opened_at_the_first_use_and_a_repr_opens_nothing(tmp_path: Path) -> None:
    model = Model(tmp_path / "later.onnx")
    assert "not opened" in repr(model)
    assert "not opened yet" in model._repr_mimebundle_()["text/html"]
    with pytest.raises(ModelLoadError, match=r"later\.onnx"):
        model.predict([1, 2, 3])
    save(model.path)
    assert model.predict([1, 2, 3]).tolist() == [1, 2, 3]
    assert "float32 [batch, 3]" in model._repr_mimebundle_()["text/html"]


def test_nan_passes_through_and_is_null_in_json(echo: Model) -> None:
    assert codec.dumps(echo.predict([float("nan"), 1, 2])) == b"[null,1.0,2.0]"
