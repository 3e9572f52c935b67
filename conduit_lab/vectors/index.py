"""Index: the rows of a store in memory, and the exact cosine search over them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.filters import Predicate

_BLOCK = 4_096  # rows per float64 copy, so that a large store never needs a second one of itself


class Row(NamedTuple):
    """What a hit tells of one entry."""

    id: str
    content: str | None
    metadata: dict[str, Any]


class Index:
    """Unit vectors float32 `[n, dimension]`, one row an entry, with amortised growth.

    Not safe for threads: the store's lock is.
    """

    def __init__(self, dimension: int) -> None:
        self._units = np.zeros((0, dimension), np.float32)
        self._order = np.zeros(0, np.int64)  # when each row was first added: breaks ties
        self._next = 0
        self._rows: list[Row] = []
        self._at: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, id: object) -> bool:
        return id in self._at

    @property
    def nbytes(self) -> int:
        """Size of the matrix in bytes, with the room it holds for growth."""
        return self._units.nbytes

    def ids(self) -> list[str]:
        """Return the ids in the order they were first added."""
        return [self._rows[at].id for at in np.argsort(self._order[: len(self)])]

    def put(self, entries: Iterable[Entry]) -> None:
        """Add each entry, or replace the one with its id in place."""
        entries = iter(entries)
        while block := list(islice(entries, _BLOCK)):
            self._reserve(len(self) + len(block))
            at = [self._place(entry) for entry in block]
            self._units[at] = _units(np.stack([entry.embedding for entry in block]))

    def remove(self, ids: Iterable[str]) -> None:
        """Remove entries that exist; the last row moves into each gap."""
        for id in ids:
            at, last = self._at.pop(id), self._rows.pop()
            if last.id != id:
                end = len(self._rows)
                self._units[at], self._order[at] = self._units[end], self._order[end]
                self._rows[at], self._at[last.id] = last, at

    def search(self, query: FloatArray, top_k: int, keep: Predicate | None = None) -> list[tuple[Row, float]]:
        """Return the `top_k` rows with the highest cosine similarity to `query` `[dimension]`, best first.

        Only rows whose metadata `keep` accepts; ties in the order of adding. A zero vector scores 0.
        """
        unit = _units(query[np.newaxis])[0]
        # vecdot, not @: it never waits for BLAS threads, which costs 10 ms a search where the cores are busy.
        scores = np.vecdot(self._units[: len(self)], unit)
        chosen = np.arange(len(self))
        if keep is not None:
            chosen = np.array([at for at, row in enumerate(self._rows) if keep(row.metadata)], np.int64)
            scores = scores[chosen]
        chosen = chosen[_contenders(scores, top_k, self._units.shape[1])]
        exact = self._exact(chosen, unit)
        best = np.lexsort((self._order[chosen], -exact))[:top_k]
        return [(self._rows[chosen[i]], min(1.0, max(-1.0, float(exact[i])))) for i in best]

    def _exact(self, chosen: npt.NDArray[np.int64], unit: FloatArray) -> npt.NDArray[np.float64]:
        """Return the scores of rows `chosen`, summed in float64.

        A float32 product may round by where a row lies in the matrix and by the machine's BLAS. This sum does
        not, so equal vectors tie, and a store gives the same answer reopened or on another machine.
        """
        query = unit.astype(np.float64)
        blocks = [(self._units[chosen[i : i + _BLOCK]] * query).sum(axis=1) for i in range(0, len(chosen), _BLOCK)]
        return np.concatenate(blocks) if blocks else np.empty(0)

    def _place(self, entry: Entry) -> int:
        """Return the row of `entry`, a new one for a new id."""
        row = Row(entry.id, entry.content, entry.metadata)
        at = self._at.setdefault(entry.id, len(self._rows))
        if at == len(self._rows):
            self._order[at] = self._next
            self._next += 1
            self._rows.append(row)
        else:
            self._rows[at] = row
        return at

    def _reserve(self, rows: int) -> None:
        """Make room for `rows`; capacity doubles, so that adding one by one stays linear."""
        if rows > len(self._order):
            capacity = max(rows, 2 * len(self._order), 64)
            units, order = np.zeros((capacity, self._units.shape[1]), np.float32), np.zeros(capacity, np.int64)
            units[: len(self)], order[: len(self)] = self._units[: len(self)], self._order[: len(self)]
            self._units, self._order = units, order


def _units(vectors: FloatArray) -> FloatArray:
    """Return float32 rows of length 1, or 0 for a zero row; float64 inside, where no float32 square overflows."""
    wide = vectors.astype(np.float64)
    length = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return (wide / np.where(length == 0, 1, length)).astype(np.float32)


def _contenders(scores: FloatArray, top_k: int, dimension: int) -> npt.NDArray[np.int64]:
    """Return the positions of every score that may be among the best `top_k` once it is summed exactly.

    A float32 dot product of two unit vectors is off by at most about dimension x 2^-24 (Higham, Accuracy and
    Stability of Numerical Algorithms, 3.5), so a true winner lies within twice that of the k-th best.
    """
    if top_k >= len(scores):
        return np.arange(len(scores))
    kth = scores[np.argpartition(scores, -top_k)[-top_k]]
    return np.flatnonzero(scores >= kth - 2.0 * dimension * 2.0**-24)
