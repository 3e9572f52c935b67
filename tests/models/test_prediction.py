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


def test_labels_have_bars_likeliest_first_and_ten_at_most() -> None:
    labels = [f"<{n}>" for n in range(12)]
    prediction = Prediction.from_array(np.arange(12) / 66, labels)
    html = prediction._repr_mimebundle_()["text/html"]
    assert html.count("linear-gradient") == 10 and "2 more labels" in html
    assert html.index("&lt;11&gt;</b></span>") < html.index("&lt;10&gt;")
    assert "<11>" not in html


def test_a_label_that_the_graph_chose_stands_out() -> None:
    html = Prediction("b", 0.25, {"a": 0.75, "b": 0.25})._repr_mimebundle_()["text/html"]
    assert html.index("<span>a</span>") < html.index("<b>b</b></span>")
