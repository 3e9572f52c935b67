"""Prediction: its labels and probabilities, however it was made."""

from __future__ import annotations

import numpy as np
import pytest

from conduit_lab.models.prediction import Prediction


@pytest.mark.parametrize(
    "prediction",
    [
        Prediction("b", 0.75, {"a": 0.25, "b": 0.75}),
        Prediction.from_array(np.array([0.25, 0.75], np.float32), ["a", "b"]),
    ],
)
def test_the_probabilities_are_an_array_in_the_order_of_the_labels(prediction: Prediction) -> None:
    assert prediction.labels == ["a", "b"]
    array = prediction.to_array()
    assert array.dtype == np.float64
    assert array.tolist() == [0.25, 0.75]
    prediction.labels.append("c")
    assert prediction.labels == list(prediction.probabilities)
