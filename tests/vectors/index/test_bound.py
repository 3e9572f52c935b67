"""Upper bounds: a pair that reaches the threshold is never missed, whatever its rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.spec import Array
from conduit_lab.vectors.index.bound import RowSelection, UpperBound


class Fixed(UpperBound):
    """Bounds with given values, one query."""

    def __init__(self, values: Array, slack: float = 0.0) -> None:
        self._values = values[np.newaxis]
        self.slack = np.array([slack])

    def values(self, chosen: RowSelection) -> Array:
        return self._values[:, chosen]


def reached(values: Array, threshold: float, slack: float = 0.0) -> list[int]:
    bound = Fixed(values, slack)
    rows: list[int] = bound.above(slice(0, len(values)), np.array([threshold])).row.tolist()
    return rows


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(0, 1e-3), st.integers(-3, 3))
def test_a_value_that_reaches_the_threshold_is_kept(
    threshold: float, slack: float, ulps: int
) -> None:
    value = np.float32(threshold - slack)
    for _ in range(abs(ulps)):
        value = np.nextafter(value, np.float32(np.copysign(np.inf, ulps)))
    kept = reached(np.array([value], np.float32), threshold, slack) == [0]
    assert kept or float(value) < threshold - slack


@pytest.mark.parametrize("threshold", [0.1, 0.3, 1.0])  # rounded up, up, exact
def test_a_value_at_the_rounded_threshold_is_kept_and_the_next_one_below_is_not(
    threshold: float,
) -> None:
    at = np.float32(threshold)
    below = np.nextafter(at, np.float32(-np.inf))
    assert reached(np.array([below, at], np.float32), threshold) == [1]
