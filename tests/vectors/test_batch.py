"""Batch: columns that are a sequence of entries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from conduit_lab.vectors.batch import Batch
from tests.vectors.conformance import entry, plain

ENTRIES = [
    entry("a", 1.0, {"n": 1}, "text"),
    replace(entry("b", 2.0), updated_at=2_000.0),
    entry("c", 3.0),
]


def test_a_batch_is_a_sequence_of_its_entries() -> None:
    batch = Batch.of(ENTRIES)
    assert [plain(one) for one in batch] == [plain(one) for one in ENTRIES]
    assert plain(batch[1]) == plain(batch[-2]) == plain(ENTRIES[1])
    assert [plain(one) for one in batch[1:]] == [plain(one) for one in ENTRIES[1:]]
    assert [fields[0] for fields in batch.fields()] == ["a", "b", "c"]
    assert len(batch) == 3
    assert not Batch.of([])


def test_a_batch_of_a_batch_is_the_same() -> None:
    batch = Batch.of(ENTRIES)
    assert Batch.of(batch) is batch
    assert np.shares_memory(batch[:2].embeddings, batch.embeddings)
