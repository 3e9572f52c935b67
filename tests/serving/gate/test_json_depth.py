"""The depth of a JSON text is exactly that of its value, however its strings look."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import InputError
from conduit_lab.serving.gate.body import check_json_depth

TEXTS = st.text('[]{}"\\ax', max_size=4)
VALUES = st.recursive(
    TEXTS | st.integers(0, 9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXTS, inner, max_size=3)
        | inner.map(lambda value: [[[[[[{"a": [[[value]]]}]]]]]])
    ),
    max_leaves=12,
)


def depth(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    items = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, items), default=0)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(VALUES, st.integers(1, 24), st.booleans())
def test_the_depth_of_a_text_is_that_of_its_value(value: Any, most: int, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    if depth(value) <= most:
        check_json_depth(text, most)
    else:
        with pytest.raises(InputError, match=f"at most {most} levels"):
            check_json_depth(text, most)


def test_blocks_of_a_long_text_belong_together() -> None:
    flat = b'["]]]' + b"[" * 200_000 + b'",' + b"[]," * 50_000 + b"0]"
    check_json_depth(flat, 2)
    with pytest.raises(InputError):
        check_json_depth(flat, 1)


@pytest.mark.parametrize("deep", [1, 2, 5])
def test_a_long_text_of_numbers_is_as_deep_as_its_brackets(deep: int) -> None:
    row = b"[-1.5e+3, 20, null],"
    levels = b"[" * (deep - 1)
    text = b"[" + row * 5_000 + levels + b"1" + b"]" * (deep - 1) + b"]"
    check_json_depth(text, max(2, deep))
    with pytest.raises(InputError, match="nested too deeply"):
        check_json_depth(text, max(2, deep) - 1)
