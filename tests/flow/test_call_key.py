"""The key of a call: equal inputs share a key, different inputs have different keys or none."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from conduit_lab.core.stage import Function
from conduit_lab.flow.call_key import CallKeys, NoKeyError
from conduit_lab.flow.result_cache import copied

SAMPLE = np.arange(4, dtype=np.float32)

ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.binary(max_size=4)
)
ARRAYS = arrays.arrays(
    st.sampled_from(["f4", "f8", "i4", "?", "U3", "M8[s]"]),
    arrays.array_shapes(min_dims=0, max_dims=2, max_side=3),
)
INPUTS = st.recursive(
    st.one_of(ATOMS, ARRAYS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
    ),
    max_leaves=6,
)


def key(value: Any) -> bytes:
    keys = CallKeys()
    return keys.of(keys.state(Function(abs)), value)


def form(value: Any) -> str:
    """Return a text that is equal for equal inputs only."""
    if isinstance(value, np.ndarray | np.generic):
        return f"{type(value).__name__} {value.dtype.str} {value.shape} {value.tobytes()!r}"
    if isinstance(value, float):
        return np.float64(value).tobytes().hex()
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(form, value))})"
    if isinstance(value, dict):
        return f"dict({', '.join(form(item) for item in value.items())})"
    return repr(value)


@given(INPUTS, INPUTS)
def test_keys_are_equal_where_the_inputs_are(one: Any, other: Any) -> None:
    assert key(one) == key(copied(one))
    assert (key(one) == key(other)) == (form(one) == form(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("1", b"1"),
        ([1], (1,)),
        ([[1], 2], [[1, 2]]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (SAMPLE, SAMPLE.reshape(2, 2)),
        (SAMPLE, SAMPLE.view(np.int32)),
        (np.float32(1), np.ones((), np.float32)),
        ([np.zeros(1), np.zeros(2)], [np.zeros(2), np.zeros(1)]),
        ([SAMPLE], (SAMPLE,)),
        ([[SAMPLE], SAMPLE], [[SAMPLE, SAMPLE]]),
    ],
)
def test_inputs_that_differ_have_different_keys(one: Any, other: Any) -> None:
    assert key(one) != key(other)


def test_the_layout_in_memory_does_not_matter() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert key(np.asfortranarray(array)) == key(array)
    assert key(np.arange(24.0).reshape(3, 8)[:, ::2]) == key(
        np.arange(24.0).reshape(3, 8)[:, ::2].copy()
    )


@pytest.mark.parametrize(
    "value", [Path("a"), {1, 2}, np.array([None]), np.ma.masked_array([1]), object(), [[Path("a")]]]
)
def test_any_other_input_has_no_key(value: Any) -> None:
    with pytest.raises(NoKeyError):
        key(value)


def test_a_list_in_itself_has_no_key() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NoKeyError, match="nested"):
        key(value)


class Meeting:
    """A lock that two threads ask for before one gets it."""

    def __init__(self) -> None:
        self.both = threading.Barrier(2)
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        self.both.wait(20)
        self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()


def test_threads_that_see_a_stage_first_get_one_state() -> None:
    keys, stage = CallKeys(), Function(abs)
    keys._making = Meeting()  # type: ignore[assignment]
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(keys.state, [stage, stage])
    assert one is other
