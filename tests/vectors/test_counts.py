"""Counts of writes are the same in memory, in a file, in Qdrant and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import VectorInputError
from conduit_lab.vectors.store import VectorStore
from tests.vectors.conformance import KINDS, store_of

IDS = ["a", "b", "c", "d", "", "\0"]
METADATAS: list[dict[str, Any] | None] = [
    {"n": 1},
    {"n": 1.0},
    {"n": True},
    {"t": "kettle"},
    {"t": ["kettle"]},
    None,
]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    with store_of(request.param, tmp_path, request) as store:
        store.add_many(IDS, np.ones((6, 2)), METADATAS)
        yield store


@pytest.mark.parametrize(
    ("where", "gone"),
    [
        ({}, IDS),
        ({"n": 1}, ["a", "b"]),
        ({"n": {"$ne": 1}}, ["c", "d", "", "\0"]),
        ({"n": {"$gt": 0}}, ["a", "b"]),
        ({"t": {"$contains": "kettle"}}, ["d", ""]),
        ({"t": {"$gt": "kettl"}}, ["d"]),
        ({"$not": {"t": {"$contains": "ett"}}}, ["a", "b", "c", "", "\0"]),
        ({"n": {"$exists": False}}, ["d", "", "\0"]),
        ({"n": {"$in": []}}, []),
        ({"missing": 1}, []),
    ],
)
def test_delete_of_a_filter_counts_what_it_keeps(
    store: VectorStore, where: dict[str, Any], gone: list[str]
) -> None:
    assert store.delete(where=where) == len(gone)
    assert [entry.id for entry in store] == [id for id in IDS if id not in gone]
    assert len(store) == 6 - len(gone)
    assert store.delete(where=where) == 0


@pytest.mark.parametrize(
    ("ids", "count"),
    [
        ("a", 1),
        ("", 1),
        ("no", 0),
        ([], 0),
        (["no", "not either"], 0),
        (["a", "no", "b", "a"], 2),
        (["\0", "\0\0", "A", "a "], 1),
        (("a", "a", "b"), 2),
        (IDS * 500, 6),
    ],
)
def test_delete_of_ids_counts_each_entry_once(store: VectorStore, ids: Any, count: int) -> None:
    assert store.delete(ids) == count
    assert len(store) == 6 - count


def test_a_write_of_a_known_id_adds_none(store: VectorStore) -> None:
    store.add("a", [1, 0])
    store.add_many(["a", "e"], np.ones((2, 2)))
    store.update("b", metadata={"n": 2})
    assert [entry.id for entry in store] == [*IDS, "e"]
    assert len(store) == 7


def test_an_update_of_an_unknown_id_is_refused_and_adds_none(store: VectorStore) -> None:
    with pytest.raises(VectorInputError, match="no entry 'no' to update"):
        store.update("no", metadata={"n": 2})
    assert len(store) == 6
