"""Tables and columns of notebooks: accepted, or rejected by name."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.store import VectorStore
from tests.vectors.test_store import Letters

ROWS = np.eye(4, dtype=np.float32)[:2]


@pytest.fixture
def store() -> Iterator[VectorStore]:
    with VectorStore(embedder=Letters(), name="letters") as store:
        yield store


def frame(**columns: Any) -> pd.DataFrame:
    """Return a table of two entries whose index is not the order of its rows."""
    return pd.DataFrame({"id": ["x", "y"], "embedding": list(ROWS), **columns}).set_index(
        pd.Index([7, 0])
    )


class Arrow:
    """The interface of an Arrow table."""

    def __init__(self, names: list[str], values: list[list[Any]]) -> None:
        self.column_names, self.columns = names, values

    def to_pydict(self) -> dict[str, list[Any]]:
        return dict(zip(self.column_names, self.columns, strict=True))


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(list(ROWS)),
        pd.Series(list(ROWS), index=[7, 0]),
        pd.Series([row.tolist() for row in ROWS]),
        pd.Series([tuple(row.tolist()) for row in ROWS]),
        np.array([None, *ROWS], object)[1:],
        list(ROWS),
        pd.DataFrame(ROWS),
    ],
    ids=lambda column: type(column).__name__,
)
def test_embeddings_are_a_column_or_a_matrix(store: VectorStore, column: Any) -> None:
    store.add_many(pd.Series(["x", "y"], index=[7, 0]), column)
    assert [entry.embedding.tolist() for entry in store] == ROWS.tolist()
    found = store.search(column, 1)
    assert [hits[0].id for hits in found] == ["x", "y"]


def test_one_number_beside_the_others_is_named(store: VectorStore) -> None:
    for wrong in ([1.0, 2.0], None, np.nan, "text", [[1.0] * 4], [1.0, 2.0, 3.0, np.nan]):
        column = pd.Series([ROWS[0], wrong])
        with pytest.raises(VectorInputError, match="the embedding of 'y'"):
            store.add_many(["x", "y"], column)
        with pytest.raises(VectorInputError, match="the embedding of 'y'"):
            store.add_many(frame().assign(embedding=column.to_list()))
    with pytest.raises(VectorInputError):
        store.add_many(["x", "y"], pd.Series([*ROWS, ROWS[0]]))
    assert len(store) == 0


def test_texts_are_a_column(store: VectorStore) -> None:
    texts = pd.Series(["aa", "bb"], index=[7, 0])
    store.add_texts(texts, ids=pd.Series(["x", "y"]))
    assert [entry.content for entry in store] == ["aa", "bb"]
    columns: list[Any] = [texts, texts.to_numpy(), texts.astype("category"), np.array(["aa", "bb"])]
    for queries in columns:
        assert [hits[0].id for hits in store.search(queries, 1)] == ["x", "y"]
        assert [hits[0].id for hits in store.search(queries, 1, mode="lexical")] == ["x", "y"]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, np.float32("nan")])
def test_what_is_missing_in_a_column_is_none(store: VectorStore, missing: Any) -> None:
    store.add_many(["x", "y"], ROWS, contents=pd.Series(["aa", missing], dtype=object))
    assert [entry.content for entry in store] == ["aa", None]
    store.add_many(["x", "y"], ROWS, pd.Series([missing, {"n": 1}], dtype=object))
    assert [entry.metadata for entry in store] == [{}, {"n": 1}]
    store.add_many(
        frame(content=["aa", missing], n=pd.Series([missing, 1], index=[7, 0], dtype=object))
    )


VALUES: dict[str, tuple[Any, list[Any]]] = {
    "categories": (pd.Categorical(["a", None]), ["a", None]),
    "times": (pd.to_datetime(pd.Series(["2026-01-02", None])), ["2026-01-02T00:00:00", None]),
    "times with a zone": (
        pd.to_datetime(pd.Series(["2026-01-02", None]), utc=True),
        ["2026-01-02T00:00:00+00:00", None],
    ),
    "durations": (pd.to_timedelta(["1s", None]), ["P0DT0H0M1S", None]),
    "dates": ([datetime.date(2026, 1, 2), None], ["2026-01-02", None]),
    "NumPy's times": (
        pd.Series([np.datetime64("2026-01-02", "ns"), np.datetime64("NaT")], dtype=object),
        ["2026-01-02T00:00:00", None],
    ),
    "integers with gaps": (pd.array([3, None], dtype="Int64"), [3, None]),
    "booleans with gaps": (pd.array([True, None], dtype="boolean"), [True, None]),
    "NumPy's numbers": (pd.Series([np.int16(3), np.float32("nan")], dtype=object), [3, None]),
    "lists": (pd.Series([["a", "b"], []], dtype=object), [["a", "b"], []]),
    "arrays": (pd.Series([np.array([1, 2]), np.array([3])], dtype=object), [[1, 2], [3]]),
    "dicts": ([{"a": 1}, None], [{"a": 1}, None]),
}


@pytest.mark.parametrize(("values", "expected"), VALUES.values(), ids=VALUES)
def test_a_cell_is_what_json_carries_of_it(
    store: VectorStore, values: Any, expected: list[Any]
) -> None:
    store.add_many(frame().assign(v=pd.Series(values).array))
    assert [entry.metadata.get("v") for entry in store] == expected
    assert [type(entry.metadata.get("v")) for entry in store] == [type(value) for value in expected]


@pytest.mark.parametrize(
    "value", [Decimal("1.5"), 1j, b"bytes", object(), np.inf, [np.nan], {1: 2}]
)
def test_a_cell_that_json_cannot_carry_is_told(store: VectorStore, value: Any) -> None:
    with pytest.raises(VectorInputError, match="metadata of 'y'"):
        store.add_many(frame(v=pd.Series([1, value], index=[7, 0], dtype=object)))
    assert len(store) == 0


@pytest.mark.parametrize("name", ["x", "id", "embedding", 1])
def test_a_name_twice_is_told(store: VectorStore, name: Any) -> None:
    twice = pd.concat(
        [
            frame(),
            pd.DataFrame({name: [1, 2]}, index=[7, 0]),
            pd.DataFrame({str(name): [3, 4]}, [7, 0]),
        ],
        axis=1,
    )
    with pytest.raises(
        VectorInputError, match=f"a table has the column '{name}' twice: rename or drop one"
    ):
        store.add_many(twice)
    names = ["id", "embedding", str(name), str(name)]
    with pytest.raises(
        VectorInputError, match=f"a table has the column '{name}' twice: rename or drop one"
    ):
        store.add_many(Arrow(names, [["x"], [[1, 0, 0, 0]], [1], [2]]))
    assert len(store) == 0


def test_an_arrow_table_and_an_empty_one(store: VectorStore) -> None:
    store.add_many(Arrow(["id", "embedding", "x"], [["a"], [[1, 0, 0, 0]], [None]]))
    assert (store["a"].metadata, len(store)) == ({}, 1)
    store.add_many(frame().iloc[:0])
    store.add_many(Arrow(["id", "content"], [[], []]))
    assert len(store) == 1


def test_an_index_that_has_the_ids_is_named(store: VectorStore) -> None:
    with pytest.raises(VectorInputError, match=r"'id' is its index: pass table.reset_index\(\)"):
        store.add_many(frame().set_index("id"))


@pytest.mark.parametrize("what", ["contents", "metadatas"])
@pytest.mark.parametrize(
    "values",
    ["xy", b"xy", {"x": {}, "y": {}}, {"x", "y"}, frozenset("xy"), frame()[["id", "embedding"]], 5],
)
def test_a_column_is_a_list(store: VectorStore, what: str, values: Any) -> None:
    with pytest.raises(
        VectorInputError,
        match=f"{what} must be a list with one value per id, got {type(values).__name__}",
    ):
        store.add_many(["x", "y"], ROWS, **{what: values})
    assert len(store) == 0


def test_ids_have_an_order(store: VectorStore) -> None:
    wrong: Any
    for wrong in ({"x", "y"}, frozenset("xy"), b"xy", "xy"):
        with pytest.raises(VectorInputError, match="ids must be a list of text"):
            store.add_many(wrong, ROWS)
    store.add_many({"x": 1, "y": 2}.keys(), ROWS, (None for _ in ROWS), iter(["a", "b"]))
    assert [(entry.id, entry.content) for entry in store] == [("x", "a"), ("y", "b")]


def test_a_mask_may_be_of_pandas_own_type(store: VectorStore) -> None:
    store.add_many(["x", "y"], ROWS)
    mask = pd.Series([False, True], index=[7, 0])
    for where in (mask, mask.astype("boolean"), mask.astype(object)):
        assert [hit.id for hit in store.search(ROWS[0], where=where)] == ["y"]
    with pytest.raises(VectorInputError, match="one bool per entry"):
        store.search(ROWS[0], where=pd.array([True, None], dtype="boolean"))


def test_every_key_of_the_metadata_has_a_column_of_its_own(store: VectorStore) -> None:
    metadata = {
        "id": 1,
        "metadata.id": 2,
        "embedding": 3,
        "created_at": 4,
        "content": 5,
        "start": 6,
    }
    store.add("a", ROWS[0], metadata, "text")
    [row] = store.to_pandas().to_dict("records")
    assert (row["id"], row["content"], row["start"]) == ("a", "text", 6)
    assert [
        row[f"metadata.{key}"]
        for key in ("id", "metadata.id", "embedding", "created_at", "content")
    ] == [
        1,
        2,
        3,
        4,
        5,
    ]


# The content in the metadata


class Counting(Letters):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: Any) -> FloatArray:
        self.texts += texts
        return super().encode(texts)


def state(store: VectorStore, id: str = "a") -> tuple[Any, Any, list[float]]:
    entry = store[id]
    return entry.metadata.get("content"), entry.content, entry.embedding.tolist()


def test_new_content_in_the_metadata_is_the_content(store: VectorStore) -> None:
    store.add("a", metadata={"content": "aa", "n": 1})
    store.update("a", metadata={"content": "bbb"})
    assert state(store) == ("bbb", "bbb", [0, 3, 0, 0])
    assert [hit.id for hit in store.search("bbb", mode="lexical")] == ["a"]
    assert len(store.search("aa", mode="lexical")) == 0
    store.update("a", content="cc")
    assert state(store) == ("cc", "cc", [0, 0, 2, 0])
    store.update("a", metadata={"n": 2})
    assert state(store) == ("cc", "cc", [0, 0, 2, 0])


def test_an_embedding_that_is_given_stays(store: VectorStore) -> None:
    store.add("a", ROWS[1], {"content": "aa"})
    store.update("a", metadata={"content": "aa", "n": 1})
    assert state(store) == ("aa", "aa", [0, 1, 0, 0])
    store.update("a", ROWS[0], {"content": "bb"})
    assert state(store) == ("bb", "bb", [1, 0, 0, 0])
    with VectorStore(4) as bare:
        bare.add("a", ROWS[1], {"content": "aa"})
        bare.update("a", metadata={"content": "bb"})
        assert state(bare) == ("bb", "bb", [0, 1, 0, 0])


def test_content_that_is_given_beside_other_metadata_wins(store: VectorStore) -> None:
    store.add("a", metadata={"content": "dd"}, content="aa")
    assert state(store) == ("dd", "aa", [2, 0, 0, 0])
    store.update("a", content="bb")  # a key with another text belongs to the user
    assert state(store) == ("dd", "bb", [0, 2, 0, 0])
    store.update("a", metadata={"content": "dd"}, content="cc")
    assert state(store) == ("dd", "cc", [0, 0, 2, 0])


@pytest.mark.parametrize("value", [5, None, ["aa"], {"aa": 1}, True])
def test_content_in_the_metadata_that_is_no_text_is_metadata(
    store: VectorStore, value: Any
) -> None:
    store.add("a", metadata={"content": value}, content="aa")
    store.update("a", metadata={"content": value, "n": 1})
    assert state(store) == (value, "aa", [2, 0, 0, 0])


@pytest.mark.parametrize(
    "key", ["id", "embedding", "score", "source", "section", "start", "end", "seq", "created_at"]
)
def test_other_names_in_the_metadata_are_the_users_own(store: VectorStore, key: str) -> None:
    store.add("a", metadata={key: "b"}, content="aa")
    store.update("a", metadata={key: 7})
    [hit] = store.search("aa", where={key: 7}, mmr=0.5)
    assert (hit.id, hit.content, hit.metadata) == ("a", "aa", {key: 7})
    assert store["a"].embedding.tolist() == [2, 0, 0, 0]
