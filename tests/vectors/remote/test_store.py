"""A store on a server is used as one in this process is: only its first line differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.store import VectorStore

TEXTS = ["A broken kettle", "Send a parcel back within 30 days", "The warranty lasts two years"]
VECTORS = np.eye(3, 4, dtype=np.float32)


class Kinds:
    """Embeds a text by which of the three it speaks of."""

    dimension = 4

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        if isinstance(texts, str):
            words = ("kettle", "parcel", "warranty", "nothing")
            return np.array([word in texts.lower() for word in words], np.float32)
        return np.stack([self.encode(text) for text in texts])


@pytest.fixture(params=["qdrant", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "qdrant":
        return f"qdrant://:memory:/{tmp_path.name}"
    postgres: str = request.getfixturevalue("postgres")
    return postgres.replace("/postgres?", f"/postgres/{tmp_path.name}?").replace(
        "postgres:@", "postgres:s3cret@"
    )


@pytest.fixture
def store(url: str) -> Iterator[VectorStore]:
    with VectorStore.connect(url, embedder=Kinds()) as store:
        store.add_many(
            ["kettle", "return", "warranty"], VECTORS, [{"n": n} for n in range(3)], TEXTS
        )
        yield store


def test_it_searches_by_meaning_by_words_and_by_both(store: VectorStore) -> None:
    assert [hit.id for hit in store.search(VECTORS[1], 2, {"n": {"$gte": 1}})] == [
        "return",
        "warranty",
    ]
    matrix: Any = VECTORS
    assert [hits[0].id for hits in store.search(matrix, 1)] == ["kettle", "return", "warranty"]
    assert [hit.id for hit in store.search("the KETTLE", 1, mode="lexical")] == ["kettle"]
    assert store.search("warranty", 1, mode="hybrid")[0].id == "warranty"


def test_it_updates_and_deletes(store: VectorStore) -> None:
    store.update("kettle", metadata={"n": 9})
    entry = store["kettle"]
    assert (entry.metadata, entry.content, entry.embedding.tolist()) == (
        {"n": 9},
        TEXTS[0],
        VECTORS[0].tolist(),
    )
    assert store.delete(where={"n": {"$lt": 5}}) == 2
    assert [entry.id for entry in store] == ["kettle"]


def test_it_shows_where_it_is_without_a_secret(store: VectorStore) -> None:
    shown = f"{store!r} {store._repr_mimebundle_()}"
    assert "4 × float32" in shown
    assert "://" in shown
    assert "s3cret" not in shown


def test_what_only_a_store_of_this_process_can_do_is_refused(
    store: VectorStore, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="server"):
        store.save_to(tmp_path / "copy.db")
    with pytest.raises((StoreError, VectorInputError), match="server"):
        store.search(VECTORS[0], 1, np.array([True, False, True]))
