"""Inputs: where the batch axis of each array is."""

from __future__ import annotations

import numpy as np

from conduit_lab.core.spec import TensorSpec
from conduit_lab.models.inputs import Inputs

X = TensorSpec("x", "float32", ("n", 4))


def test_an_input_of_one_row_beside_the_batch_may_come_without_its_axis() -> None:
    inputs = Inputs("m", (X, TensorSpec("scale", "float32", (1, 4))))
    feeds = inputs.feeds({"x": np.zeros((2, 4)), "scale": np.ones(4)})
    assert {name: array.shape for name, array in feeds.arrays.items()} == {
        "x": (2, 4),
        "scale": (1, 4),
    }
    assert (feeds.rows, feeds.single) == (2, False)


def test_numbers_are_a_batch_of_samples_without_axes() -> None:
    inputs = Inputs("m", (TensorSpec("x", "float32", ("n",)),))
    one, many = (inputs.feeds(np.ones(shape, np.float32)) for shape in ((), (3,)))
    assert (one.arrays["x"].shape, one.rows, one.single) == ((1,), 1, True)
    assert (many.arrays["x"].shape, many.rows, many.single) == ((3,), 3, False)
