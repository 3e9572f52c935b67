"""JSON schemas: exclusive bounds that are narrowed, and patterns that are counted."""

from __future__ import annotations

from typing import Any

import pytest

from conduit_lab.core.errors import InputError
from conduit_lab.models.generation.json_schema import check_json_schema, narrow_bounds

PATTERNS = [{"pattern": "a"}] * 7


@pytest.mark.parametrize("bound", [0.5, -1.25, 10.0**14, True])
def test_other_bounds_are_unchanged(bound: Any) -> None:
    assert narrow_bounds({"exclusiveMinimum": bound}) == {"exclusiveMinimum": bound}


@pytest.mark.parametrize("bound", [0, 1, -3, 10**6, 10**12, -(10**12)])
def test_integral_bounds_are_narrowed(bound: int) -> None:
    schema = narrow_bounds({"exclusiveMinimum": bound, "exclusiveMaximum": bound})
    assert bound < schema["exclusiveMinimum"] < bound + 1
    assert bound - 1 < schema["exclusiveMaximum"] < bound


@pytest.mark.parametrize("keyword", ["const", "enum", "default", "examples"])
def test_values_are_unchanged(keyword: str) -> None:
    schema = {keyword: [{"exclusiveMinimum": 0}]}
    assert narrow_bounds(schema) == schema


def test_patterns_of_a_value_are_not_counted() -> None:
    check_json_schema({"const": {"allOf": PATTERNS}})
    with pytest.raises(InputError, match="expects at most 6 patterns"):
        check_json_schema({"items": {"allOf": PATTERNS}})


def test_six_patterns_are_accepted() -> None:
    check_json_schema({"allOf": PATTERNS[:6]})
    with pytest.raises(InputError, match="expects at most 6 patterns"):
        check_json_schema({"allOf": PATTERNS})


def test_items_of_lists_are_separate() -> None:
    check_json_schema({"prefixItems": [{"allOf": PATTERNS[:6]}, {"allOf": PATTERNS[:6]}]})


def test_property_with_the_most_patterns_counts() -> None:
    with pytest.raises(InputError, match="expects at most 6 patterns"):
        check_json_schema({"properties": {"a": {}, "b": {"allOf": PATTERNS}}})


def test_pointer_escapes_are_resolved() -> None:
    schema = {"$defs": {"a/b~c": {"allOf": PATTERNS}}, "$ref": "#/$defs/a~1b~0c"}
    with pytest.raises(InputError, match="expects at most 6 patterns"):
        check_json_schema(schema)
