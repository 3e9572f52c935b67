"""Filters: the language, its limits, and its agreement with a plain reading of it."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from conduit_lab.core.errors import VectorInputError
from conduit_lab.vectors.filters import parse_filter
from tests.vectors.wheres import ENTRIES, WHERES, plain, same

ENTRY = {
    "section": "returns",
    "year": 2024,
    "price": 9.5,
    "new": True,
    "tags": ["a", 1],
    "none": None,
    "o": {"k": [1]},
}


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
    assert parse_filter(where)(ENTRY) is True


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
    assert parse_filter(where)(ENTRY) is False


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            {"a": {"$regex": "x"}},
            r"unknown operator '\$regex'; known here are \$eq, .*\$contains, \$not",
        ),
        ({"$nor": []}, r"unknown operator '\$nor'; known here are \$and, \$or, \$not"),
        ({"a": {"$gt": 1, "b": 2}}, "unknown operator 'b'"),
        ({"a": {"$gt": [1]}}, r"\$gt for 'a' in a filter expects a number or text, got \[1\]"),
        ({"a": {"$lt": True}}, "expects a number or text, got True"),
        ({"a": {"$in": "abc"}}, r"\$in for 'a' in a filter expects a list, got 'abc'"),
        ({"a": {"$exists": 1}}, "expects True or False, got 1"),
        ({"a": float("nan")}, r"operand of \$eq for 'a' in the filter is nan"),
        ({"a": {"$in": [{1, 2}]}}, r"in the filter\[0\] is a set"),
        ({"$or": []}, r"\$or in a filter expects a list of at least one filter, got \[\]"),
        ({"$and": {"a": 1}}, r"\$and in a filter expects a list"),
        ({"$or": [1]}, "a filter is a dict .*, got int"),
        ({1: 2}, "a filter's keys are text, got 1"),
        ({"\ud800": 2}, "a key of the filter holds a lone surrogate"),
        (
            {"k" * 10**6: {"$gt": None}},
            r"\$gt for 'k{12}\.{3}k{13}' in a filter expects a number or text",
        ),
        ({"$" * 10**6: 1}, r"unknown operator '\${12}\.{3}\${13}'"),
        ("section = 1", "a filter is a dict .*, got str"),
    ],
)
def test_a_wrong_filter_is_told(where: Any, message: str) -> None:
    with pytest.raises(VectorInputError, match=message):
        parse_filter(where)


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
        ({"$or": [{"a": i} for i in range(100_000)]}, "more than 1000 clauses: use"),
        ({str(i): i for i in range(100_000)}, "more than 1000 clauses"),
    ):
        with pytest.raises(VectorInputError, match=message):
            parse_filter(where)
    assert time.process_time() - begin < 0.5
    allowed: dict[str, Any] = {"a": {"$eq": 1}}
    for _ in range(14):
        allowed = {"$not": allowed}
    assert parse_filter(allowed)({"a": 1})
    assert parse_filter({"a": {"$in": list(range(100_000))}})({"a": 99_999})


@settings(max_examples=300, deadline=None, database=None)
@given(WHERES, ENTRIES)
def test_agrees_with_the_plain_reading(where: dict[str, Any], entry: dict[str, Any]) -> None:
    assert parse_filter(where)(entry) is plain(where, entry)


@settings(max_examples=100, deadline=None, database=None)
@given(WHERES)
def test_keeps_what_it_was_given(where: dict[str, Any]) -> None:
    assert same(parse_filter(where).where, where)


def test_where_is_a_plain_copy() -> None:
    values = [np.str_("a"), ("b", 1)]
    where: Any = MappingProxyType(
        {np.str_("$and"): ({"k": MappingProxyType({"$in": values})}, {"o": MappingProxyType({})})}
    )
    filter = parse_filter(where)
    values.clear()
    assert repr(filter.where) == "{'$and': [{'k': {'$in': ['a', ['b', 1]]}}, {'o': {}}]}"


def test_a_long_filter_has_a_short_repr() -> None:
    assert len(repr(parse_filter({"a": {"$in": list(range(1_000))}}))) < 100
