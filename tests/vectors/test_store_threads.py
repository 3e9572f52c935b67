"""Searches while others write: never a torn row, never a deleted one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.vectors.store import VectorStore

DIMENSION = 16


@pytest.mark.parametrize("durable", [True, False])
def test_searches_during_writes(tmp_path: Path, durable: bool) -> None:
    """Entry `i:round` points along axis i, and its text and metadata tell the same round."""
    stop = threading.Event()
    deleted: set[str] = set()
    eye = np.eye(DIMENSION, dtype=np.float32)

    def write(store: VectorStore) -> int:
        round = 0
        while not stop.is_set():
            round += 1
            for axis in range(DIMENSION):
                store.add(
                    f"kept {axis}",
                    eye[axis] * round,
                    {"axis": axis, "round": round},
                    f"{axis} {round}",
                )
            store.add_many([f"gone {axis} {round}" for axis in range(DIMENSION)], eye)
            gone = [f"gone {axis} {round}" for axis in range(DIMENSION)]
            store.delete(gone)
            deleted.update(gone)
        return round

    def read(store: VectorStore) -> int:
        rng = np.random.default_rng(threading.get_ident())
        searches = 0
        while not stop.is_set():
            axis = int(rng.integers(DIMENSION))
            before = set(deleted)
            for hit in store.search(eye[axis], top_k=DIMENSION * 2):
                assert hit.id not in before
                at = int(hit.id.split()[1])
                assert hit.score == (1.0 if at == axis else 0.0)
                if hit.id.startswith("kept"):
                    assert hit.metadata["axis"] == at
                    assert hit.content == f"{at} {hit.metadata['round']}"
            entry = store[f"kept {axis}"]
            assert entry.embedding[axis] == entry.metadata["round"]
            searches += 1
        return searches

    with VectorStore(DIMENSION, path=tmp_path / "index.db" if durable else None) as store:
        store.add_many(
            [f"kept {axis}" for axis in range(DIMENSION)],
            eye,
            [{"axis": axis, "round": 1} for axis in range(DIMENSION)],
            [f"{axis} 1" for axis in range(DIMENSION)],
        )
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(write, store), *(pool.submit(read, store) for _ in range(3))]
            stop.wait(1.0)
            stop.set()
            assert all(job.result() > 0 for job in jobs)
        assert len(store) == DIMENSION
