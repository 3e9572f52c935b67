"""An array reaches the graph with its values, or is refused; only float32 rounds floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.spec import TensorSpec
from conduit_lab.models.inputs import Inputs
from conduit_lab.models.model import Model
from tests.runtime import graphs

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]


def cast(array: Any, dtype: str) -> Any:
    """Return the array that an input of this dtype would get; opens no file."""
    return Inputs("never", ()).array(TensorSpec("x", dtype, ("n",)), array)


def is_rounded(given_dtype: str, wanted: str) -> bool:
    return given_dtype == "float64" and wanted == "float32"


def same(a: Any, b: Any) -> bool:
    """Compare two NumPy numbers as Python's exact ones; NaN is like NaN."""
    left, right = a.item(), b.item()
    return bool(left == right or (left != left and right != right))


@settings(max_examples=300, deadline=None)
@given(
    data=st.data(), given_dtype=st.sampled_from([*INTEGERS, *FLOATS, "bool"]), foreign=st.booleans()
)
def test_array_is_cast_exactly_or_refused(
    data: st.DataObject, given_dtype: str, foreign: bool
) -> None:
    wanted = data.draw(st.sampled_from([*INTEGERS, *FLOATS, "bool"]))
    array = data.draw(arrays(given_dtype, st.integers(0, 4)))
    exact = array.astype(array.dtype.newbyteorder("S")) if foreign else array
    try:
        got = cast(exact, wanted)
    except ModelInputError:
        return
    assert got.dtype == np.dtype(wanted)
    assert got.dtype.isnative
    if not is_rounded(given_dtype, wanted):
        assert all(same(a, b) for a, b in zip(got, array, strict=True))


@settings(max_examples=300, deadline=None)
@given(arrays("float64", st.integers(0, 4)))
def test_floats_are_rounded_to_float32_unless_they_overflow(array: Any) -> None:
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float32)
    if np.any(np.isinf(rounded) & np.isfinite(array)):
        with pytest.raises(ModelInputError, match="float32 cannot hold: its largest is"):
            cast(array, "float32")
    else:
        np.testing.assert_array_equal(cast(array, "float32"), rounded)


@pytest.mark.parametrize(("number", "wanted"), [(0.1, "float16"), (0.5, "int64"), (0.0, "bool")])
def test_floats_are_not_rounded_to_any_other_dtype(number: float, wanted: str) -> None:
    with pytest.raises(ModelInputError):
        cast(np.array([number]), wanted)


@settings(max_examples=200, deadline=None)
@given(
    data=st.data(),
    given_dtype=st.sampled_from(INTEGERS),
    wanted=st.sampled_from([*INTEGERS, *FLOATS]),
)
def test_integers_that_the_input_can_hold_are_taken(
    data: st.DataObject, given_dtype: str, wanted: str
) -> None:
    array = data.draw(arrays(given_dtype, st.integers(0, 4)))
    limit = 2 ** {"float16": 11, "float32": 24, "float64": 53}.get(wanted, 0)
    low, high = (
        (-limit, limit) if limit > 1 else (int(np.iinfo(wanted).min), int(np.iinfo(wanted).max))
    )
    if all(low <= int(number) <= high for number in array):
        assert cast(array, wanted).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("number", "dtype", "wanted"),
    [
        (2**53 + 1, "int64", "float64"),
        (2**53 + 1, "int64", "float32"),
        (2**63 - 1, "int64", "float32"),
        (2**64 - 1, "uint64", "float64"),
        (2**64 - 1, "uint64", "int64"),
        (-1, "int64", "uint64"),
        (2, "uint8", "bool"),
    ],
)
def test_integer_that_the_input_would_round_is_refused(
    number: int, dtype: str, wanted: str
) -> None:
    with pytest.raises(ModelInputError, match="cannot hold exactly"):
        cast(np.array([number], dtype), wanted)


def test_integer_beyond_the_range_is_refused() -> None:
    with pytest.raises(ModelInputError, match="float16 cannot hold: its largest is"):
        cast(np.array([70_000], np.int32), "float16")


def test_nan_and_infinity_stay_what_they_are() -> None:
    got = cast(np.array([np.nan, np.inf, -np.inf]), "float32")
    assert np.isnan(got[0])
    assert got[1:].tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize(
    "value",
    [["a", None], [1, 2], [{"a": 1}], [b"a"], np.array([None, 1], object)],
    ids=lambda value: repr(value),
)
def test_text_input_takes_only_text(tmp_path: Path, value: Any) -> None:
    model = Model(graphs.identity(tmp_path / "text.onnx", "str", ["n"]))
    assert model.predict(["kettle", "ü"]).tolist() == ["kettle", "ü"]
    with pytest.raises(ModelInputError, match="expects input str"):
        model.predict(value)


def test_inputs_of_two_batch_sizes_are_refused(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "sum.onnx",
        [graphs.node("Add", ["a", "b"], ["y"])],
        [graphs.value("a", ["batch", 2]), graphs.value("b", ["batch", 2])],
        [graphs.value("y", ["batch", 2])],
    )
    model = Model(path)
    assert model.predict({"a": [[1, 2]], "b": [[3, 4]]}).tolist() == [[4, 6]]
    for other in (np.zeros((1, 2)), np.zeros((3, 2))):
        with pytest.raises(ModelInputError, match="one batch size, got a float32"):
            model.predict({"a": np.zeros((2, 2)), "b": other})
