"""Every backend behaves the same: in this process, in Qdrant and in PostgreSQL."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import StoreError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors import filters
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.local_backend import LocalBackend
from conduit_lab.vectors.remote.connect import connect_backend
from tests.vectors.conformance import (
    ANY,
    DIMENSION,
    METADATA,
    METRICS,
    PLAIN,
    SHARED,
    TEXTS,
    VECTORS,
    WHERES,
    assert_best,
    empty,
    entry,
    oracle,
    plain,
)

Open = Callable[..., Backend]


@pytest.fixture(params=["local", "qdrant", "qdrant server", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """A function that opens or creates the store of a name; all are closed at the end."""
    stores: list[Backend] = []

    def open_store(
        name: str = "store", dimension: int | None = DIMENSION, metric: str | None = "cosine"
    ) -> Backend:
        match request.param:
            case "local":
                stores.append(
                    LocalBackend(
                        tmp_path / f"{name}.db", dimension or DIMENSION, metric or "cosine"
                    )
                )
            case "qdrant server":
                url = request.getfixturevalue("qdrant").url
                stores.append(connect_backend(f"{url}/{tmp_path.name}_{name}", dimension, metric))
            case "qdrant":
                place = (
                    ":memory:" if name == "store" else tmp_path
                )  # a file is synced for each point
                stores.append(connect_backend(f"qdrant://{place}/{name}", dimension, metric))
            case _:
                url = request.getfixturevalue("postgres")
                stores.append(connect_backend(url, dimension, metric, f"{tmp_path.name}_{name}"))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def backend(open_store: Open) -> Backend:
    """An empty store with the metric cosine."""
    return open_store()


@SHARED
@given(TEXTS, ANY, METADATA, TEXTS | st.none())
def test_an_entry_comes_back_as_it_was_given(
    backend: Backend, id: str, vector: FloatArray, metadata: dict[str, Any], content: str | None
) -> None:
    empty(backend)
    given = entry(id, vector, metadata, content)
    backend.upsert([given])
    assert plain(backend.get([id])[0]) == plain(given)
    assert backend.ids() == [id]
    [[match]], _ = backend.search(vector[np.newaxis], 5)
    assert (match.id, match.content, json.dumps(match.metadata)) == (
        id,
        content,
        json.dumps(metadata),
    )


def test_get_answers_each_id_in_its_place(backend: Backend) -> None:
    backend.upsert([entry("a"), entry("b")])
    found = backend.get(["b", "no", "a", "b"])
    assert [None if one is None else one.id for one in found] == ["b", None, "a", "b"]
    assert backend.get([]) == []


def test_a_replaced_entry_keeps_its_place_and_its_first_time(backend: Backend) -> None:
    backend.upsert([entry("a", 1.0, {"n": 1}, "old words"), entry("b", 1.0)])
    later = replace(entry("a", 2.0, {"n": 2}, "new"), created_at=2_000.0, updated_at=2_000.0)
    backend.upsert([later])
    assert plain(backend.get(["a"])[0]) == plain(replace(later, created_at=1_000.5))
    assert backend.ids() == ["a", "b"]
    assert backend.count() == 2
    assert backend.ids(filters.parse_filter({"n": 1})) == []
    assert backend.lexical("old", 3) == []


def test_delete_tells_how_many_there_were(backend: Backend) -> None:
    backend.upsert([entry("a"), entry("b"), entry("c")])
    assert backend.delete(["a", "no", "c"]) == 2
    assert backend.delete(["a"]) == 0
    assert backend.delete([]) == 0
    assert backend.ids() == ["b"]
    assert backend.count() == 1


def test_an_id_that_is_given_twice_counts_once(backend: Backend) -> None:
    backend.upsert([entry("a"), entry("b"), entry("c")])
    assert backend.delete(["a", "a", "no", "c", "no", "a"]) == 2
    assert backend.delete(["a", "a"]) == 0
    assert backend.ids() == ["b"]
    assert [one and one.id for one in backend.get(["b", "a", "b"])] == ["b", None, "b"]


def test_one_deleted_and_added_again_comes_last(backend: Backend) -> None:
    backend.upsert([entry("a"), entry("b")])
    backend.delete(["a"])
    backend.upsert([entry("a")])
    assert backend.ids() == ["b", "a"]
    assert [
        match.id for match in backend.search(np.ones((1, DIMENSION), np.float32), 2).lists[0]
    ] == ["b", "a"]


@pytest.mark.parametrize("metric", METRICS)
def test_a_search_is_right(open_store: Open, metric: str) -> None:
    backend = open_store(metric=metric)

    @SHARED
    @given(
        st.lists(VECTORS, min_size=1, max_size=12),
        st.lists(VECTORS, min_size=1, max_size=3),
        st.integers(1, 14),
    )
    def check(rows: list[FloatArray], queries: list[FloatArray], top_k: int) -> None:
        empty(backend)
        ids = [f"id {i}" for i in range(len(rows))]
        backend.upsert([entry(id, row) for id, row in zip(ids, rows, strict=True)])
        found = backend.search(np.stack(queries), top_k, exact=True)
        assert len(found.lists) == len(queries)
        for query, matches in zip(queries, found.lists, strict=True):
            assert_best(matches, ids, oracle(metric, np.stack(rows), query), metric, top_k)

    check()


@pytest.mark.parametrize("metric", METRICS)
def test_many_equal_entries_come_in_the_order_of_adding(open_store: Open, metric: str) -> None:
    backend = open_store(metric=metric)
    backend.upsert([entry(f"worse {i}", -1.0) for i in range(20)])
    backend.upsert(
        [entry(f"same {i}", 0.5 if metric == "cosine" and i % 2 else 1.0) for i in range(200)]
    )
    backend.upsert([entry("same 0"), entry("same 2")])  # a server stores them in another place
    [found] = backend.search(np.ones((1, DIMENSION), np.float32), 5).lists
    assert [match.id for match in found] == [f"same {i}" for i in range(5)]


def test_a_zero_vector_scores_0_with_cosine(backend: Backend) -> None:
    backend.upsert([entry("against", -1.0), entry("zero", 0.0), entry("with", 1.0)])
    ones, zeros = np.ones((1, DIMENSION), np.float32), np.zeros((1, DIMENSION), np.float32)
    [found] = backend.search(ones, 3).lists
    assert [(match.id, match.score) for match in found] == [
        ("with", 1.0),
        ("zero", 0.0),
        ("against", -1.0),
    ]
    [found] = backend.search(zeros, 3).lists
    assert [(match.id, match.score) for match in found] == [
        ("against", 0.0),
        ("zero", 0.0),
        ("with", 0.0),
    ]


def test_the_largest_and_smallest_numbers_have_a_cosine(backend: Backend) -> None:
    top = float(np.finfo(np.float32).max)
    backend.upsert([entry("opposite", -top), entry("tiny", 1e-38), entry("huge", top)])
    for query in (1e-38, top):
        [found] = backend.search(np.full((1, DIMENSION), query, np.float32), 3).lists
        assert [match.id for match in found] == ["tiny", "huge", "opposite"]
        assert [match.score for match in found] == pytest.approx([1, 1, -1])


def test_an_empty_store_has_nothing(backend: Backend) -> None:
    assert backend.search(np.ones((2, DIMENSION), np.float32), 3).lists == [[], []]
    assert backend.lexical("kettle", 3) == []
    assert (backend.count(), backend.ids()) == (0, [])


@SHARED
@given(st.lists(METADATA, min_size=1, max_size=8), st.lists(WHERES, min_size=1, max_size=5))
def test_filters_keep_what_the_predicate_keeps(
    backend: Backend, metadatas: list[dict[str, Any]], wheres: list[dict[str, Any]]
) -> None:
    empty(backend)
    backend.upsert([entry(f"id {i}", 1.0, metadata) for i, metadata in enumerate(metadatas)])
    for where in wheres:
        keep = filters.parse_filter(where)
        wanted = [f"id {i}" for i, metadata in enumerate(metadatas) if keep(metadata)]
        assert backend.ids(keep) == wanted
        assert backend.count(keep) == len(wanted)
        [found] = backend.search(np.ones((1, DIMENSION), np.float32), 3, keep).lists
        assert [match.id for match in found] == wanted[:3]


def test_each_value_compares_as_json_does(backend: Backend) -> None:
    values = [*PLAIN, [1.0], [True], ["a"], {"x": 1}]
    backend.upsert([entry(f"id {i}", 1.0, {"v": value}) for i, value in enumerate(values)])
    for operand in values:
        wheres: list[dict[str, Any]] = [
            {"v": operand},
            {"v": {"$ne": operand}},
            {"v": {"$contains": operand}},
        ]
        if isinstance(operand, (int, float, str)) and not isinstance(operand, bool):
            wheres += [{"v": {"$lte": operand}}, {"v": {"$not": {"$gt": operand}}}]
        for where in wheres:
            keep = filters.parse_filter(where)
            assert backend.ids(keep) == [
                f"id {i}" for i, value in enumerate(values) if keep({"v": value})
            ], where


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_filtered_search_finds_the_nearest_at_every_selectivity(
    open_store: Open, metric: str
) -> None:
    backend = open_store(metric=metric, dimension=16)
    random = np.random.default_rng(0)
    rows = random.standard_normal((1_000, 16), np.float32)
    ids, places = [f"id {i}" for i in range(1_000)], random.permutation(1_000).tolist()
    marks = [
        {"place": place, "parts": [n for n in (2, 10, 100, 1_000) if place < 1_000 // n]}
        for place in places
    ]
    backend.upsert([Entry(*row, None, 0.0, 0.0) for row in zip(ids, rows, marks, strict=True)])
    queries = random.standard_normal((3, 16), np.float32)
    for n in (2, 10, 100, 1_000):
        kept = [i for i in range(1_000) if places[i] < 1_000 // n]
        for where in ({"parts": {"$contains": n}}, {"place": {"$lt": 1_000 // n}}):
            found = backend.search(queries, 10, filters.parse_filter(where)).lists
            for query, matches in zip(queries, found, strict=True):
                assert_best(
                    matches, [ids[i] for i in kept], oracle(metric, rows[kept], query), metric, 10
                )


def test_lexical_finds_words_and_puts_the_rare_one_first(backend: Backend) -> None:
    backend.upsert(
        [
            entry(f"order {i}", content=f"Your order number {i} has left the house")
            for i in range(20)
        ]
    )
    backend.upsert(
        [entry("kettle", metadata={"kind": "page"}, content="A broken kettle and its order")]
    )
    backend.upsert([entry("nothing"), entry("empty", content="")])
    found = backend.lexical("order of a KETTLE", 5)
    assert found[0].id == "kettle"
    assert len(found) == 5
    assert [match.score for match in found] == sorted(
        (match.score for match in found), reverse=True
    )
    assert [
        match.id for match in backend.lexical("order", 5, filters.parse_filter({"kind": "page"}))
    ] == ["kettle"]
    assert len(backend.lexical("order", 50)) == 21
    assert backend.lexical("zebra", 5) == []


@SHARED
@given(TEXTS)
def test_lexical_takes_any_text(backend: Backend, text: str) -> None:
    if not backend.count():
        backend.upsert(
            [entry("a", content="a kettle"), entry("b", content="NOT OR AND ' \" * ( : & | !")]
        )
    assert all(match.id in ("a", "b") for match in backend.lexical(text, 5))


def test_the_version_grows_with_each_change(backend: Backend) -> None:
    versions = [backend.version]
    for _ in range(2):
        backend.upsert([entry("a")])
        versions.append(backend.version)
    backend.delete(["a"])
    versions.append(backend.version)
    assert versions == sorted(set(versions))
    backend.search(np.ones((1, DIMENSION), np.float32), 1)
    assert backend.version == versions[-1]


def test_a_store_opened_again_has_all_of_it(open_store: Open) -> None:
    first = open_store(name="kept", metric="l2")
    first.upsert([entry("a", 1.0, {"n": 1}), entry("b", 2.0)])
    before = first.search(np.full((1, DIMENSION), 3.0, np.float32), 2)
    first.close()
    again = open_store(name="kept", metric="l2")
    assert again.ids() == ["a", "b"]
    assert again.search(np.full((1, DIMENSION), 3.0, np.float32), 2) == before
    again.upsert([entry("c")])
    assert again.ids() == ["a", "b", "c"]


@pytest.mark.parametrize(("dimension", "metric"), [(DIMENSION + 1, "l2"), (DIMENSION, "dot")])
def test_a_store_of_another_kind_is_refused(open_store: Open, dimension: int, metric: str) -> None:
    open_store(name="kept", metric="l2").close()
    with pytest.raises(StoreError, match="expected"):
        open_store(name="kept", dimension=dimension, metric=metric)


def test_a_closed_store_says_so(backend: Backend) -> None:
    backend.upsert([entry("a")])
    backend.close()
    backend.close()
    with pytest.raises(StoreError, match="closed"):
        backend.ids()
    with pytest.raises(StoreError, match="closed"):
        backend.upsert([entry("b")])
    assert "closed" in backend.facts()


def test_threads_see_whole_batches(backend: Backend) -> None:
    failures: list[BaseException] = []

    def write(thread: int) -> None:
        for turn in range(8):
            # The same ids in another order: two writers must not deadlock.
            backend.upsert(
                [entry(f"id {i}", turn + 1.0, {"by": thread}) for i in range(10)][
                    :: 1 - 2 * (thread % 2)
                ]
            )

    def read() -> None:
        for _ in range(8):
            seen = {match.metadata["by"] for match in backend.search(ones, 10).lists[0]}
            assert len(seen) <= 1, f"a mix of batches {seen}"
            backend.get(["id 1"])

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    ones = np.ones((1, DIMENSION), np.float32)
    works = [*((lambda thread=thread: write(thread)) for thread in range(3)), read, read]
    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert backend.count() == 10
