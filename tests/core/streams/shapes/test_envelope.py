"""Any number of values in a fixed number of columns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.streams.shapes.envelope import Envelope

values = st.lists(st.floats(width=32), max_size=70)


@settings(max_examples=60, deadline=None)
@given(st.lists(values, max_size=5))
def test_columns_have_the_least_greatest_and_mean_of_their_values(parts: list[list[float]]) -> None:
    envelope = Envelope(8)
    for part in parts:
        envelope.add(part)
    everything = [value for part in parts for value in part]
    columns = envelope.columns()
    assert envelope.count == len(everything)
    assert len(columns.mean) == envelope.length <= 8
    for place, (low, high, mean) in enumerate(zip(*columns, strict=True)):
        held = everything[place * envelope.per : (place + 1) * envelope.per]
        finite = [value for value in held if math.isfinite(value)]
        if not finite:
            assert np.isnan([low, high, mean]).all()
            continue
        assert (low, high) == (min(finite), max(finite))
        assert mean == pytest.approx(np.mean(finite), rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(values, st.integers(0, 70))
def test_parts_add_up_to_the_whole(everything: list[float], cut: int) -> None:
    whole, parts = Envelope(8), Envelope(8)
    whole.add(everything)
    parts.add(everything[:cut])
    parts.add(everything[cut:])
    assert whole.per == parts.per
    for one, other in zip(whole.columns(), parts.columns(), strict=True):
        np.testing.assert_allclose(one, other)


def test_bounds_cover_values_of_all_columns() -> None:
    envelope = Envelope(4)
    assert envelope.bounds == (0.0, 0.0)
    envelope.add([3.0, -1.0, math.nan, 2.0, 5.0, math.inf])
    assert envelope.bounds == (-1.0, 5.0)
    assert (envelope.per, envelope.invalid, envelope.last) == (2, 2, 5.0)


def test_columns_from_one_on() -> None:
    envelope = Envelope(4)
    envelope.add([1.0, 2.0, 3.0])
    assert envelope.columns(1).mean.tolist() == [2.0, 3.0]


def test_a_sum_beyond_float64_is_a_gap_in_the_mean() -> None:
    envelope = Envelope(2)
    envelope.add([1.5e308] * 4)
    assert envelope.columns().high.tolist() == [1.5e308, 1.5e308]
    assert np.isinf(envelope.columns().mean).all()
