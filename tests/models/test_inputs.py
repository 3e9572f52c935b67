"""Inputs: the batch axis of each array."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import ModelInputError
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


NUMBER = st.one_of(
    st.floats(width=64),
    st.floats(-1e3, 1e3),
    st.integers(-(2**70), 2**70),
    st.integers(-5, 5),
    st.booleans(),
    st.none(),
    st.sampled_from(["1.5", b"1.5", Decimal("0.1"), Fraction(1, 3), 10**400, 1j]),
)


@given(
    value=st.one_of(
        st.lists(NUMBER, min_size=3, max_size=5),
        st.lists(st.floats(-1e30, 1e30), min_size=4, max_size=4),
        st.lists(st.lists(NUMBER, min_size=4, max_size=4), max_size=3),
        st.lists(st.lists(st.floats(-1e30, 1e30), min_size=4, max_size=4), max_size=3),
    ),
    dtype=st.sampled_from(["float32", "float64", "int64"]),
)
def test_lists_take_the_short_path_only_where_the_full_check_gives_the_same(
    value: list[Any], dtype: str
) -> None:
    inputs = Inputs("m", (TensorSpec("x", dtype, ("n", 4)),))
    try:
        expected = inputs._checked(value)
    except ModelInputError as error:
        with pytest.raises(ModelInputError, match=re.escape(str(error))):
            inputs.feeds(value)
        return
    got = inputs.feeds(value)
    assert (got.rows, got.single) == (expected.rows, expected.single)
    np.testing.assert_array_equal(got.arrays["x"], expected.arrays["x"], strict=True)


@pytest.mark.parametrize("number", [-(2**63) - 1, 2**70, Decimal("0.1"), Fraction(1, 3)])
def test_a_number_without_a_dtype_in_numpy_is_cast(number: Any) -> None:
    for value in ([number, 1, 2, 3.5], [[0.0, number, True, 3.5]]):
        got = Inputs("m", (X,)).feeds(value).arrays["x"].ravel().tolist()
        assert got == np.array([float(each) for each in np.ravel(value)], np.float32).tolist()


def test_a_list_of_floats_takes_the_short_path(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs("m", (X,))
    monkeypatch.setattr(inputs, "_checked", None)
    assert inputs.feeds([0.5, 1, 2, 3.5]).arrays["x"].tolist() == [[0.5, 1, 2, 3.5]]
    assert inputs.feeds([[1, 2, 3, 4]] * 2).rows == 2


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2, 3], {4.0, 5.0, 6.0}],
        [{1.0: 0, 2.0: 0, 3.0: 0}],
        [[1, 2, 3], "abc"],
        [[1, 2, 3], [[4], [5], [6]]],
        [1, 2, [3]],
        [1, 2, "3"],
        [[1, 2, 3], [4, 5, 3.5e38]],
    ],
    ids=repr,
)
def test_lists_with_anything_but_numbers_that_fit_are_refused(rows: Any) -> None:
    with pytest.raises(ModelInputError):
        Inputs("m", (TensorSpec("x", "float32", ("batch", 3)),)).feeds(rows)


@pytest.mark.parametrize("value", [[1, 2.5, True], [[1, 2.5, True]], [[1e-50, 3.4e38, -0.0]] * 2])
def test_lists_of_numbers_are_rounded_to_float32(value: Any) -> None:
    feeds = Inputs("m", (TensorSpec("x", "float32", ("batch", 3)),)).feeds(value)
    expected = np.array(value, np.float64).astype(np.float32).reshape(-1, 3)
    assert feeds.arrays["x"].tobytes() == expected.tobytes()
    assert feeds.single == (type(value[0]) is not list)
