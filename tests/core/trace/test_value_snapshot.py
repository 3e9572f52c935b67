"""A recorded value does not change with the original."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conduit_lab.core.trace.value_snapshot import snapshot


@pytest.mark.parametrize(
    "value",
    ["text", b"bytes", 7, 1.5, True, None, object()],
    ids=lambda value: type(value).__name__,
)
def test_values_that_cannot_change_are_kept_as_they_are(value: object) -> None:
    assert snapshot(value) is value


@pytest.mark.parametrize(
    "value",
    [[1, [2]], {"a": {"b": [1]}}, {1, 2}, bytearray(b"ab"), ([1], {"x": [2]}), np.arange(3)],
    ids=lambda value: type(value).__name__,
)
def test_others_are_copied_with_what_they_hold(value: Any) -> None:
    copy = snapshot(value)
    assert type(copy) is type(value)
    assert copy is not value
    assert np.array_equal(copy, value) if isinstance(value, np.ndarray) else copy == value


def test_inner_containers_are_copies_too() -> None:
    inner = np.zeros(2)
    value: dict[str, Any] = {"rows": [inner, ("a", inner)]}
    copy = snapshot(value)
    inner[:] = 1
    value["rows"].append(3)
    assert copy["rows"][0].tolist() == copy["rows"][1][1].tolist() == [0, 0]
    assert len(copy["rows"]) == 2


def test_a_frozen_array_is_not_copied_and_a_read_only_view_of_another_is() -> None:
    frozen = np.arange(3)
    frozen.flags.writeable = False
    assert snapshot(frozen) is frozen
    writable = np.arange(3)
    view = writable[:]
    view.flags.writeable = False
    assert snapshot(view) is not view


def test_a_container_in_itself_ends() -> None:
    value: list[Any] = []
    value.append(value)
    assert isinstance(snapshot(value), list)
