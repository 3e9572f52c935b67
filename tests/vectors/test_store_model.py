"""The store against a plain list and a float64 NumPy oracle, through any order of operations."""

from __future__ import annotations

import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from conduit_lab.core.errors import VectorInputError
from conduit_lab.vectors.store import VectorStore

DIMENSION = 5
IDS = st.sampled_from([f"id {i}" for i in range(12)] + ["", "é\0"])
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Few distinct values produce ties and zero vectors; arbitrary float32 produces extremes.
VECTORS = hnp.arrays(
    np.float32, DIMENSION, elements=st.sampled_from([-1.0, 0.0, 1.0])
) | hnp.arrays(np.float32, DIMENSION, elements=FINITE)
METADATA = st.fixed_dictionaries({"n": st.integers(0, 3)})


class StoreMachine(RuleBasedStateMachine):
    durable = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[str, tuple[Any, dict[str, int]]] = {}
        self.open("0.db")

    def open(self, name: str) -> None:
        self.store = VectorStore(DIMENSION, path=self.folder / name if self.durable else None)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(id=IDS, vector=VECTORS, metadata=METADATA)
    def add(self, id: str, vector: Any, metadata: dict[str, int]) -> None:
        self.store.add(id, vector, metadata)
        self.model[id] = vector, metadata

    @rule(batch=st.lists(st.tuples(IDS, VECTORS, METADATA), max_size=6))
    def add_many(self, batch: list[tuple[str, Any, dict[str, int]]]) -> None:
        ids = [id for id, _, _ in batch]
        vectors = np.array([vector for _, vector, _ in batch], np.float32).reshape(-1, DIMENSION)
        metadatas = [metadata for _, _, metadata in batch]
        if len(set(ids)) < len(ids):
            with pytest.raises(VectorInputError, match="twice"):
                self.store.add_many(ids, vectors, metadatas)
        else:
            self.store.add_many(ids, vectors, metadatas)
            self.model.update({id: (vector, metadata) for id, vector, metadata in batch})

    @rule(id=IDS, vector=st.none() | VECTORS, metadata=st.none() | METADATA)
    def update(self, id: str, vector: Any, metadata: dict[str, int] | None) -> None:
        if id not in self.model:
            with pytest.raises(VectorInputError, match="no entry"):
                self.store.update(id, vector, metadata)
            return
        self.store.update(id, vector, metadata)
        before, known = self.model[id]
        self.model[id] = before if vector is None else vector, {**known, **(metadata or {})}

    @rule(limit=st.integers(0, 4))
    def delete_where(self, limit: int) -> None:
        gone = [id for id, (_, metadata) in self.model.items() if metadata["n"] < limit - 2]
        assert self.store.delete(where={"n": {"$lt": limit - 2}}) == len(gone)
        for id in gone:
            self.model.pop(id)

    @rule()
    def freeze(self) -> None:
        folder = self.store.snapshot(self.folder / "frozen")
        with VectorStore(DIMENSION, path=folder) as frozen:
            assert [(e.id, e.embedding.tolist()) for e in frozen] == [
                (id, vector.tolist()) for id, (vector, _) in self.model.items()
            ]

    @rule(ids=st.lists(IDS, max_size=4))
    def delete(self, ids: list[str]) -> None:
        assert self.store.delete(ids) == len(self.model.keys() & set(ids))
        for id in ids:
            self.model.pop(id, None)

    @precondition(lambda self: self.durable)
    @rule()
    def reopen(self) -> None:
        assert self.store.path is not None
        self.store.close()
        self.open(self.store.path.name)

    @precondition(lambda self: self.durable)
    @rule()
    def move_to_a_copy(self) -> None:
        assert self.store.path is not None
        name = f"{int(self.store.path.stem) + 1}.db"
        self.store.save_to(self.folder / name)
        self.store.close()
        self.open(name)

    @rule(query=VECTORS, top_k=st.integers(1, 15), limit=st.none() | st.integers(0, 4))
    def search(self, query: Any, top_k: int, limit: int | None) -> None:
        hits = self.store.search(query, top_k, None if limit is None else {"n": {"$lt": limit}})
        expected = {
            id: cosine(query, vector)
            for id, (vector, metadata) in self.model.items()
            if metadata["n"] < (limit or 4)
        }
        if limit == 0:
            expected = {}
        scores = [hit.score for hit in hits]
        assert len({hit.id for hit in hits}) == len(hits) == min(top_k, len(expected))
        assert scores == sorted(scores, reverse=True)
        assert scores == pytest.approx(sorted(expected.values(), reverse=True)[:top_k], abs=1e-6)
        assert scores == pytest.approx([expected[hit.id] for hit in hits], abs=1e-6)
        order = list(self.model)
        for first, second in pairwise(hits):
            if first.score == second.score and same(
                self.model[first.id][0], self.model[second.id][0]
            ):
                assert order.index(first.id) < order.index(second.id)
        assert all(hit.metadata == self.model[hit.id][1] for hit in hits)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert len(self.store) == len(self.model)
        assert [(e.id, e.embedding.tolist()) for e in self.store] == [
            (id, vector.tolist()) for id, (vector, _) in self.model.items()
        ]


def cosine(a: Any, b: Any) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a / np.linalg.norm(a) @ (b / np.linalg.norm(b))) if lengths else 0.0


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b))


class DurableStoreMachine(StoreMachine):
    durable = True


TestStoreInMemory = StoreMachine.TestCase
TestStoreInMemory.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, database=None
)
TestStoreInFile = DurableStoreMachine.TestCase
TestStoreInFile.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, database=None
)
