"""Batch: the entries of one write, as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import Any, overload

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.entry import Entry

Fields = tuple[str, FloatArray, dict[str, Any], str | None, float, float]
"""The fields of an `Entry`, in their order."""


@dataclass(frozen=True, eq=False)
class Batch(Sequence[Entry]):
    """A sequence that builds each entry on access; `embeddings` is float32 `[n, dimension]`.

    Building 10,000 entries takes longer than storing them in memory, and triggers a full garbage
    collection, which blocks all threads for 28 ms.
    """

    ids: list[str]
    embeddings: FloatArray = field(repr=False)
    metadatas: list[dict[str, Any]]
    contents: list[str | None]
    created_at: list[float]
    updated_at: list[float]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Batch:
        """Return `entries` as a batch."""
        if isinstance(entries, Batch):
            return entries
        return cls(
            [entry.id for entry in entries],
            np.array([entry.embedding for entry in entries], np.float32),
            [entry.metadata for entry in entries],
            [entry.content for entry in entries],
            [entry.created_at for entry in entries],
            [entry.updated_at for entry in entries],
        )

    def fields(self) -> Iterator[Fields]:
        """Yield the fields of each entry."""
        return zip(
            self.ids,
            self.embeddings,
            self.metadatas,
            self.contents,
            self.created_at,
            self.updated_at,
            strict=True,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Entry]:
        return starmap(Entry, self.fields())

    @overload
    def __getitem__(self, at: int) -> Entry: ...

    @overload
    def __getitem__(self, at: slice) -> Batch: ...

    def __getitem__(self, at: Any) -> Entry | Batch:
        columns = (
            self.ids,
            self.embeddings,
            self.metadatas,
            self.contents,
            self.created_at,
            self.updated_at,
        )
        return (Batch if isinstance(at, slice) else Entry)(*(column[at] for column in columns))
