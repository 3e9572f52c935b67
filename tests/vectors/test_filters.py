"""Filters: the language, its limits, and its agreement with a plain reading of it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import VectorInputError
from conduit_lab.vectors.filters import parse

ENTRY = {"section": "returns", "year": 2024, "price": 9.5, "new": True, "tags": ["a", 1], "none": None, "o": {"k": [1]}}


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"section": "returns", "year": 2024},
        {"year": 2024.0},
        {"year": {"$gte": 2024, "$lt": 2025}},
        {"price": {"$gt": 9, "$lte": 9.5}},
        {"section": {"$gt": "refunds", "$lt": "s"}},
        {"section": {"$in": ["warranty", "returns"]}},
        {"section": {"$nin": ["warranty"]}},
        {"section": {"$ne": "warranty"}},
        {"section": {"$contains": "turn"}},
        {"tags": {"$contains": 1.0}},
        {"tags": ["a", 1]},
        {"o": {"k": [1]}},
        {"o": {"$eq": {"k": [1.0]}}},
        {"none": None},
        {"none": {"$exists": True}},
        {"missing": {"$exists": False}},
        {"missing": {"$ne": None}},
        {"missing": {"$nin": [None]}},
        {"missing": {"$not": {"$gt": 1}}},
        {"$not": {"missing": 1}},
        {"$or": [{"year": 1}, {"new": True}]},
        {"$and": [{"year": 2024}, {"$not": {"new": False}}]},
    ],
)
def test_matches(where: dict[str, Any]) -> None:
    assert parse(where)(ENTRY) is True


@pytest.mark.parametrize(
    "where",
    [
        {"section": "returns", "year": 2023},
        {"new": 1},
        {"year": {"$in": [True, "2024"]}},
        {"tags": {"$contains": True}},
        {"tags": "a"},
        {"year": {"$gt": "1"}},
        {"new": {"$gte": 0}},
        {"none": {"$lt": 1}},
        {"missing": None},
        {"missing": {"$in": [None]}},
        {"missing": {"$contains": ""}},
        {"section": {"$contains": 1}},
        {"year": {"$gte": 2024, "$lt": 2024}},
        {"$or": [{"year": 1}, {"new": False}]},
    ],
)
def test_does_not_match(where: dict[str, Any]) -> None:
    assert parse(where)(ENTRY) is False


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"a": {"$regex": "x"}}, r"unknown operator '\$regex'; known here are \$eq, .*\$contains, \$not"),
        ({"$nor": []}, r"unknown operator '\$nor'; known here are \$and, \$or, \$not"),
        ({"a": {"$gt": 1, "b": 2}}, "unknown operator 'b'"),
        ({"a": {"$gt": [1]}}, r"\$gt for 'a' in a filter wants a number or text, got \[1\]"),
        ({"a": {"$lt": True}}, "wants a number or text, got True"),
        ({"a": {"$in": "abc"}}, r"\$in for 'a' in a filter wants a list, got 'abc'"),
        ({"a": {"$exists": 1}}, "wants True or False, got 1"),
        ({"a": float("nan")}, r"operand of \$eq for 'a' in the filter is nan"),
        ({"a": {"$in": [{1, 2}]}}, r"in the filter\[0\] is a set"),
        ({"$or": []}, r"\$or in a filter wants a list of at least one filter, got \[\]"),
        ({"$and": {"a": 1}}, r"\$and in a filter wants a list"),
        ({"$or": [1]}, "a filter is a dict .*, got int"),
        ({1: 2}, "a filter's keys are text, got 1"),
        ("section = 1", "a filter is a dict .*, got str"),
    ],
)
def test_a_wrong_filter_is_told(where: Any, message: str) -> None:
    with pytest.raises(VectorInputError, match=message):
        parse(where)


def test_limits_hold_and_are_quick() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(500):
        deep = {"$not": deep}
    deep_value: Any = 1
    for _ in range(500):
        deep_value = [deep_value]
    begin = time.process_time()
    for where, message in (
        (deep, "more than 16 levels"),
        ({"a": deep_value}, "more than 64 levels"),
        ({"$or": [{"a": i} for i in range(100_000)]}, "more than 1000 clauses; use"),
        ({str(i): i for i in range(100_000)}, "more than 1000 clauses"),
    ):
        with pytest.raises(VectorInputError, match=message):
            parse(where)
    assert time.process_time() - begin < 0.5
    allowed: dict[str, Any] = {"a": {"$eq": 1}}
    for _ in range(14):
        allowed = {"$not": allowed}
    assert parse(allowed)({"a": 1})
    assert parse({"a": {"$in": list(range(100_000))}})({"a": 99_999})


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([-1.0, 0.5, 2.0, "", "a", "ab", "b"])
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2)
KEYS = st.sampled_from("pqr")
ENTRIES = st.dictionaries(KEYS, VALUES)
ORDERED = st.integers(-3, 3) | st.sampled_from([0.5, "a", "ab"])
CONDITIONS = (
    st.tuples(st.sampled_from(["$eq", "$ne", "$contains"]), VALUES)
    | st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ORDERED)
    | st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(VALUES, max_size=4))
    | st.tuples(st.just("$exists"), st.booleans())
).map(lambda pair: {pair[0]: pair[1]})
FILTERS = st.recursive(
    st.dictionaries(KEYS, CONDITIONS | SCALARS, max_size=2),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts})
        | inner.map(lambda part: {"$not": part})
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None, database=None)
@given(FILTERS, ENTRIES)
def test_agrees_with_the_plain_reading(where: dict[str, Any], entry: dict[str, Any]) -> None:
    assert parse(where)(entry) is plain(where, entry)


def plain(where: dict[str, Any], entry: dict[str, Any]) -> bool:
    """Evaluate `where` straight from the words of the module's docstring."""
    results = []
    for key, wanted in where.items():
        if key == "$and":
            results.append(all(plain(part, entry) for part in wanted))
        elif key == "$or":
            results.append(any(plain(part, entry) for part in wanted))
        elif key == "$not":
            results.append(not plain(wanted, entry))
        elif isinstance(wanted, dict):
            ((name, operand),) = wanted.items()
            results.append(holds(name, operand, key in entry, entry.get(key)))
        else:
            results.append(holds("$eq", wanted, key in entry, entry.get(key)))
    return all(results)


def holds(name: str, operand: Any, there: bool, value: Any) -> bool:
    match name:
        case "$exists":
            return there is operand
        case "$eq":
            return there and same(value, operand)
        case "$ne":
            return not (there and same(value, operand))
        case "$in":
            return there and any(same(value, item) for item in operand)
        case "$nin":
            return not (there and any(same(value, item) for item in operand))
        case "$contains":
            if isinstance(value, list):
                return any(same(item, operand) for item in value)
            return isinstance(value, str) and isinstance(operand, str) and operand in value
    if kind(value) != kind(operand):
        return False
    return bool(
        {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand, "$lte": value <= operand}[name]
    )


def kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def same(a: Any, b: Any) -> bool:
    if kind(a) != kind(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)
