"""Columns: masks agree with the plain reading through any order of changes; their cost."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.vectors import columns as module
from conduit_lab.vectors.columns import MetadataColumns
from conduit_lab.vectors.filters import parse_filter
from tests.vectors.wheres import ENTRIES, WHERES, plain

STEPS = st.lists(
    st.tuples(st.just("append"), st.lists(ENTRIES, max_size=5))
    | st.tuples(st.just("replace"), st.dictionaries(st.integers(0, 9), ENTRIES, max_size=3))
    | st.tuples(st.just("compact"), st.lists(st.booleans(), min_size=1))
    | st.tuples(st.just("mask"), WHERES),
    max_size=12,
)


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(ENTRIES, max_size=8), STEPS, WHERES)
def test_a_mask_is_the_plain_reading_of_every_row(
    rows: list[Any], steps: list[Any], last: Any
) -> None:
    columns = MetadataColumns()
    columns.append(rows)
    rows = list(rows)
    for step, value in [*steps, ("mask", last)]:
        if step == "append":
            columns.append(value)
            rows += value
        elif step == "replace":
            changed = {at: entry for at, entry in value.items() if at < len(rows)}
            columns.replace(list(changed), list(changed.values()))
            for at, entry in changed.items():
                rows[at] = entry
        elif step == "compact":
            live = np.resize(np.array(value, np.bool_), len(rows))
            columns.compact(live)
            rows = [entry for entry, kept in zip(rows, live, strict=True) if kept]
        else:
            mask = parse_filter(value).mask(columns)
            assert mask.dtype == np.bool_
            assert mask.tolist() == [plain(value, entry) for entry in rows]
        assert [columns.metadata(at) for at in range(len(columns))] == rows


def test_a_mask_belongs_to_the_caller() -> None:
    columns = filled([{"a": 1}, {"a": 2}, {}])
    for where in (
        {},
        {"a": 1},
        {"a": {"$gt": 0}},
        {"a": {"$exists": False}},
        {"a": {"$contains": 1}},
        {"b": 1},
    ):
        filter = parse_filter(where)
        before = filter.mask(columns).tolist()
        filter.mask(columns)[:] = True
        assert filter.mask(columns).tolist() == before


@pytest.mark.parametrize(
    "where",
    [
        {"n": {"$in": [3, 700.0, "x", None]}},
        {"n": {"$gte": 3, "$lt": 2**40}},
        {"n": {"$gt": 2**60 + 500, "$lte": 2**60 + 700}},
        {"at": {"$gte": "2024-05-01T00:00:07", "$lt": "2024-05-01T00:00:21.5"}},
        {"at": {"$gt": "2024-05-01T00:00:07", "$lte": "2024-05-01T00:01"}},
        {"at": {"$contains": ":2"}},
        {"tags": {"$contains": "t3"}},
        {"tags": {"$contains": 3}},
        {"flag": True, "n": {"$ne": 4}},
        {
            "$or": [
                *({"n": n} for n in range(300)),
                {"flag": False},
                *({"at": f"{n}"} for n in range(9)),
            ]
        },
        {"$and": [{"n": {"$ne": n}} for n in range(300)]},
    ],
)
def test_many_different_values(where: dict[str, Any]) -> None:
    rows: list[dict[str, Any]] = [
        {
            "n": [i, float(i), 2**60 + i, str(i)][i % 4],
            "at": f"2024-05-01T00:00:{i % 60:02}.{i}",
            "tags": [f"t{i % 7}", i % 5],
            "flag": i % 3 == 0,
        }
        for i in range(1_000)
    ]
    columns = filled(rows[:440])
    filter = parse_filter(where)
    for end in (440, 441, 1_000):
        columns.append(rows[len(columns) : end])
        assert filter.mask(columns).tolist() == [filter(row) for row in rows[:end]]


def test_integers_beyond_every_float() -> None:
    columns = filled([{"a": 10**400}, {"a": -(10**400)}, {"a": 0.5}, {"a": 10**400 + 1}])
    assert parse_filter({"a": {"$lt": 0}}).mask(columns).tolist() == [False, True, False, False]
    assert parse_filter({"a": {"$lte": 10**400}}).mask(columns).tolist() == [
        True,
        True,
        True,
        False,
    ]
    assert parse_filter({"a": {"$gt": -(10**400)}}).mask(columns).tolist() == [
        True,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_row_that_is_replaced_is_found_as_it_is_now(at: int) -> None:
    columns = filled([{"a": 1}, {"a": 1}])
    where = parse_filter({"a": 1})
    where.mask(columns)
    columns.append([{"a": 1}])
    columns.replace([at], [{"a": "1"}])
    assert where.mask(columns).tolist() == [row != at for row in range(3)]


def test_a_key_that_is_first_unknown_is_found_later() -> None:
    columns = filled([{}, {"a": 1}])
    where = parse_filter({"b": {"$exists": True}})
    assert where.mask(columns).tolist() == [False, False]
    columns.replace([0], [{"b": None}])
    assert where.mask(columns).tolist() == [True, False]
    columns.append([{"b": 1}])
    assert where.mask(columns).tolist() == [True, False, True]


def test_unknown_keys_cost_one_column() -> None:
    columns = filled([{"a": 1}] * 10_000)
    parse_filter({"x": 1}).mask(columns)
    assert (
        grown(
            lambda: parse_filter({"$or": [{f"x{i}": {"$contains": 1}} for i in range(300)]}).mask(
                columns
            )
        )
        < 200_000
    )


def test_no_more_columns_are_kept_than_the_limit() -> None:
    rows = [{f"k{j}": i for j in range(4 * module.MAX_COLUMNS)} for i in range(1_000)]
    columns = filled(rows)
    one = grown(lambda: parse_filter({"k0": 1}).mask(columns))
    where = parse_filter({"$or": [{f"k{j}": -1} for j in range(4 * module.MAX_COLUMNS)]})
    assert grown(lambda: where.mask(columns)) < 1.2 * one * module.MAX_COLUMNS
    assert not where.mask(columns).any()


def test_values_that_are_gone_do_not_pile_up() -> None:
    columns = filled([{"a": 0}, {"a": 1}])
    where = parse_filter({"a": {"$gt": 19_000}})
    where.mask(columns)

    def update() -> None:
        for i in range(20_000):
            columns.replace([0], [{"a": i}])

    def add_and_drop() -> None:
        columns.append([{"a": i} for i in range(10_000)])
        where.mask(columns)
        columns.compact(np.arange(10_002) == 0)

    assert grown(update) < 600_000
    assert where.mask(columns).tolist() == [True, False]
    assert grown(add_and_drop) < 200_000
    assert where.mask(columns).tolist() == [True]


def test_rows_without_metadata_share_one_object() -> None:
    columns = filled([{} for _ in range(3)])
    columns.replace([1], [{"a": 1}])
    columns.replace([1], [{}])
    assert len({id(columns.metadata(at)) for at in range(3)}) == 1


def filled(rows: list[dict[str, Any]]) -> MetadataColumns:
    columns = MetadataColumns()
    columns.append(rows)
    return columns


def grown(do: Any) -> int:
    """Return the bytes that are held after `do` and were not before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        do()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
