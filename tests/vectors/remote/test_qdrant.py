"""Qdrant only: URLs and keys, requests, collections of other programs."""

from __future__ import annotations

import gc
import socket
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.vectors import filters
from conduit_lab.vectors.remote import qdrant as module
from conduit_lab.vectors.remote.connect import connect_backend
from conduit_lab.vectors.remote.place import read_place
from conduit_lab.vectors.remote.terms import FIELD
from tests.vectors.conformance import DIMENSION, entry
from tests.vectors.remote.qdrant_server import QdrantServer

ONES = np.ones((1, DIMENSION), np.float32)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def last(server: QdrantServer, call: str) -> Any:
    """Return the body of the last request whose path ends with `call`."""
    return next(body for _, path, _, body in reversed(server.asked) if path.endswith(call))


def test_a_batch_is_one_request(qdrant: QdrantServer) -> None:
    store = connect_backend(f"{qdrant.url}/x", DIMENSION)
    store.upsert([entry(f"id {i}") for i in range(300)])
    writes = [
        body
        for method, path, _, body in qdrant.asked
        if (method, path) == ("PUT", "/collections/x/points")
    ]
    assert [len(body["points"]) for body in writes] == [300]
    store.close()


def test_a_batch_too_large_for_one_request_is_refused(
    qdrant: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_REQUEST_BYTES", 100_000)
    store = connect_backend(f"{qdrant.url}/x", DIMENSION)
    with pytest.raises(VectorInputError, match=r"batches of at most \d+"):
        store.upsert([entry(f"id {i}", content="word " * 100) for i in range(300)])
    assert store.count() == 0
    store.upsert([entry("a")])
    store.close()


def test_a_filter_makes_qdrant_look_at_every_entry_that_it_keeps(qdrant: QdrantServer) -> None:
    store = connect_backend(f"{qdrant.url}/x", DIMENSION)
    store.upsert([entry("a", metadata={"n": 1})])
    assert store.search(ONES, 3, filters.parse_filter({"n": 1})).plan == "exact scan in Qdrant"
    assert last(qdrant, "query")["params"] == {"exact": True}
    assert store.search(ONES, 3, exact=True).plan == "exact scan in Qdrant"
    assert store.search(ONES, 3).plan == "HNSW in Qdrant, ef 256"
    assert last(qdrant, "query")["params"] == {"hnsw_ef": 256, "exact": False}
    store.close()


def test_what_qdrant_cannot_filter_is_asked_for_until_there_is_enough(qdrant: QdrantServer) -> None:
    store = connect_backend(f"{qdrant.url}/x", DIMENSION)
    store.upsert([entry(f"id {i}", 1.0, {"name": f"name {i}"}) for i in range(400)])
    [found] = store.search(ONES, 3, filters.parse_filter({"name": {"$contains": "39"}})).lists
    assert [match.id for match in found] == ["id 39", "id 139", "id 239"]
    [found] = store.search(ONES, 3, filters.parse_filter({"name": {"$gt": "name 97"}})).lists
    assert [match.id for match in found] == ["id 98", "id 99"]
    store.close()


def test_a_server_that_is_down_is_named(closed_port: int) -> None:
    with pytest.raises(
        StoreError, match=f"127.0.0.1:{closed_port} collection 'x'.*is the server running"
    ):
        connect_backend(f"qdrant://127.0.0.1:{closed_port}/x", DIMENSION)


def test_what_the_server_refuses_is_told(qdrant: QdrantServer) -> None:
    store = connect_backend(f"{qdrant.url}/x", DIMENSION)
    qdrant.refuse = 403, "only for managers"
    with pytest.raises(StoreError, match=r"403.*only for managers"):
        store.upsert([entry("a")])
    with pytest.raises(StoreError, match="only for managers"):
        store.search(ONES, 1, filters.parse_filter({"n": {"$gt": 1}}))
    assert store.version == 0
    store.close()


def test_a_key_is_never_sent_in_the_open(
    qdrant: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
    store = connect_backend(f"{qdrant.url}/x", DIMENSION)
    assert "s3cret" not in f"{qdrant.asked} {store.facts()} {store!r}"
    store.close()


def test_a_key_goes_over_tls_and_is_in_no_error(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
    place = read_place("qdrants://shop.example:6333/x", "vectors")
    assert (place.settings["url"], place.settings["api_key"]) == (
        "https://shop.example:6333",
        "s3cret",
    )
    assert "s3cret" not in place.name
    with pytest.raises(StoreError) as raised:
        connect_backend(f"qdrants://127.0.0.1:{closed_port}/x", DIMENSION)
    assert "s3cret" not in f"{raised.value!r} {raised.value.__cause__!r}"


def test_a_key_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(StoreError, match="QDRANT_API_KEY") as raised:
        connect_backend("qdrants://ann:s3cret@shop.example/x", DIMENSION)
    assert "s3cret" not in str(raised.value)


def test_the_collection_stands_in_the_url_or_is_the_name(tmp_path: Path) -> None:
    first = connect_backend(f"qdrant://{tmp_path}/handbook", DIMENSION, name="other")
    assert first.facts()[0] == f"qdrant://{tmp_path} collection 'handbook'"
    first.close()
    second = connect_backend("qdrant://:memory:", DIMENSION, name="other")
    assert second.facts()[0] == "qdrant://:memory: collection 'other'"
    second.close()


def test_a_folder_that_is_open_already_is_named(tmp_path: Path) -> None:
    first = connect_backend(f"qdrant://{tmp_path}/x", DIMENSION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client leaves its lock file open
        with pytest.raises(StoreError, match="already accessed") as raised:
            connect_backend(f"qdrant://{tmp_path}/x", DIMENSION)
        del raised
        gc.collect()
    first.close()


def test_a_new_collection_needs_a_dimension() -> None:
    with pytest.raises(StoreError, match="no such collection: give a dimension"):
        connect_backend("qdrant://:memory:/x")


def test_what_is_there_tells_dimension_and_metric(tmp_path: Path) -> None:
    connect_backend(f"qdrant://{tmp_path}/x", DIMENSION, "manhattan").close()
    store = connect_backend(f"qdrant://{tmp_path}/x")
    assert (store.dimension, store.metric) == (DIMENSION, "manhattan")
    store.close()


@pytest.mark.parametrize("named", [True, False])
def test_a_collection_of_another_program_is_left_alone(tmp_path: Path, named: bool) -> None:
    kind = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
    other = QdrantClient(path=str(tmp_path))
    other.create_collection("x", {"text": kind} if named else kind)
    vector = [1.0] * DIMENSION
    other.upsert(
        "x",
        [models.PointStruct(id=1, vector={"text": vector} if named else vector, payload={"n": 1})],
    )
    other.close()
    with pytest.raises(StoreError, match="not a vector store"):
        connect_backend(f"qdrant://{tmp_path}/x", DIMENSION)


@pytest.mark.parametrize(
    "url", ["mysql://ann:s3cret@host/x", "handbook.db", "", "http://host:6333"]
)
def test_a_url_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="qdrant://, qdrants:// or postgresql://") as raised:
        connect_backend(url, DIMENSION)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["qdrant://", "qdrant:///", "qdrant://host:port/x", "qdrant://a b/x"]
)
def test_a_qdrant_url_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="qdrant://host:6333/collection"):
        connect_backend(url, DIMENSION)


@pytest.mark.parametrize("name", ["..", "a b", "a%2Fb", "é"])
def test_a_name_that_is_no_collection_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="a collection's name"):
        connect_backend(f"qdrant://{tmp_path}/{name}", DIMENSION)


def without_terms(qdrant: QdrantServer, ids: list[str]) -> None:
    """Make points as an older version wrote them."""
    chosen = models.Filter(must=[models.FieldCondition(key="id", match=models.MatchAny(any=ids))])
    qdrant.engine.delete_payload("x", [FIELD], models.FilterSelector(filter=chosen))


def test_points_of_an_older_version_are_found_by_their_words(
    qdrant: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {"a": "The Café returns", "b": "ёлка", "empty": "", "none": None, "new": "cafés"}
    with closing(connect_backend(f"{qdrant.url}/x", DIMENSION)) as store:
        store.upsert([entry(id, content=content) for id, content in contents.items()])
        expected = store.lexical("cafe ЕЛКА returned", 5)
    without_terms(qdrant, ["a", "b", "empty", "none"])
    monkeypatch.setattr(module, "_PAGE_POINTS", 3)
    with closing(connect_backend(f"{qdrant.url}/x", DIMENSION)) as store:
        assert store.lexical("cafe ЕЛКА returned", 5) == expected
        assert {match.id for match in expected} == {"a", "b", "new"}
        asked = len(qdrant.asked)
        store.lexical("cafe", 5)
        assert len(qdrant.asked) == asked + 1


def test_a_key_that_cannot_write_does_not_search_half_of_the_words(qdrant: QdrantServer) -> None:
    with closing(connect_backend(f"{qdrant.url}/x", DIMENSION)) as store:
        store.upsert([entry("a", content="kettle"), entry("b", content="kettle")])
    without_terms(qdrant, ["a"])
    with closing(connect_backend(f"{qdrant.url}/x", DIMENSION)) as store:
        qdrant.refuse, qdrant.refused = (403, "only for managers"), "points/batch"
        for _ in range(2):
            with pytest.raises(
                StoreError, match=r"older version.*only for managers.*key that may write"
            ):
                store.lexical("kettle", 5)
        assert len(store.search(ONES, 5).lists[0]) == 2
        qdrant.refuse = None
        assert [match.id for match in store.lexical("kettle", 5)] == ["a", "b"]


def test_the_local_mode_completes_older_points_too(tmp_path: Path) -> None:
    with closing(connect_backend(f"qdrant://{tmp_path}/x", DIMENSION)) as store:
        store.upsert([entry("a", content="Café"), entry("b", content="cafe"), entry("none")])
    with closing(QdrantClient(path=str(tmp_path))) as client:
        client.delete_payload("x", [FIELD], models.FilterSelector(filter=models.Filter(must=[])))
    with closing(connect_backend(f"qdrant://{tmp_path}/x", DIMENSION)) as store:
        assert [match.id for match in store.lexical("cafés", 5)] == ["a", "b"]
