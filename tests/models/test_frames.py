"""A DataFrame input returns a DataFrame, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conduit_lab.core.errors import ModelInputError
from conduit_lab.models.model import Model
from tests.runtime import graphs

FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": [0.1, 0.2], "c": [3, 4]}, index=["x", "y"])


def test_all_columns_are_the_features_of_one_input(tmp_path: Path) -> None:
    model = Model(graphs.linear(tmp_path / "m.onnx", np.eye(3)))
    got = model.predict(FRAME)
    assert list(got.columns) == ["output_0", "output_1", "output_2"]
    assert list(got.index) == ["x", "y"]
    np.testing.assert_allclose(got.to_numpy(), FRAME.to_numpy(), rtol=1e-6)


def test_a_model_with_labels_gives_label_score_and_probabilities(tmp_path: Path) -> None:
    weight = np.array([[0, 0], [1, 0], [0, 0.1]])
    model = Model(
        graphs.linear(tmp_path / "m.onnx", weight, {"labels": json.dumps(["low", "high"])})
    )
    got = model.predict(FRAME)
    assert list(got.columns) == ["label", "score", "low", "high"]
    assert list(got["label"]) == ["high", "high"]
    np.testing.assert_allclose(got["score"], [0.3, 0.4], rtol=1e-6)


def test_columns_go_to_the_inputs_of_their_name(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "m.onnx",
        [graphs.node("Add", ["a", "b"], ["sum"])],
        [graphs.value("a", ["batch", 1]), graphs.value("b", ["batch", 1])],
        [graphs.value("sum", ["batch", 1])],
    )
    model = Model(path)
    got = model.predict(FRAME[["c", "b", "a"]])
    np.testing.assert_allclose(got["sum"], [1.1, 2.2], rtol=1e-6)
    with pytest.raises(
        ModelInputError, match="'m' expects the columns a, b; the DataFrame has a, c"
    ):
        model.predict(FRAME[["a", "c"]])


def test_too_few_columns_and_text_are_refused(tmp_path: Path) -> None:
    model = Model(graphs.linear(tmp_path / "m.onnx", np.eye(3)))
    with pytest.raises(ModelInputError, match="got a DataFrame of 2 columns"):
        model.predict(FRAME[["a", "b"]])
    with pytest.raises(ModelInputError, match="got object"):
        model.predict(FRAME.assign(c=["kettle", "pan"]))


def test_no_rows_give_no_rows(tmp_path: Path) -> None:
    model = Model(
        graphs.linear(tmp_path / "m.onnx", np.eye(3), {"labels": json.dumps(["a", "b", "c"])})
    )
    got = model.predict(FRAME.iloc[:0])
    assert (len(got), list(got.columns)) == (0, ["label", "score", "a", "b", "c"])
