"""Upper bounds on the ranks of many rows at once, and row selections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.vectors.arrays import BoolArray, Float64Array, IntArray

RowSelection = slice | IntArray  # contiguous rows of one block, or ascending row numbers


class Pairs(NamedTuple):
    """Pairs of a query and a row, each with an upper bound on the row's rank."""

    query: IntArray
    row: IntArray
    bound: Array

    @classmethod
    def of(cls, reached: BoolArray, chosen: RowSelection) -> Pairs:
        """Return the pairs for which `reached` `[q, m]` is true, with their positions as bounds."""
        at = np.flatnonzero(reached)
        if len(reached) == 1:
            query, place = np.zeros_like(at), at
        else:
            query, place = np.divmod(at, reached.shape[1])
        row = place + chosen.start if isinstance(chosen, slice) else chosen[place]
        return cls(query, row, place)

    def where(self, keep: BoolArray | IntArray) -> Pairs:
        """Return the pairs that `keep` selects."""
        return Pairs(self.query[keep], self.row[keep], self.bound[keep])


class UpperBound(ABC):
    """Bounds the ranks of rows: none exceeds its value by more than its query's `slack` `[q]`."""

    slack: Array

    @abstractmethod
    def values(self, chosen: RowSelection) -> Array:
        """Return the values of `m` rows, a new float array `[q, m]`."""

    def looseness(self, chosen: RowSelection) -> Array | None:
        """Return how far a rank may be below its value `[q]`; None if far or unknown."""
        return None

    def pairs(self, values: Array, chosen: RowSelection, threshold: Float64Array) -> Pairs:
        """Return the pairs whose values reach their query's `threshold` `[q]`."""
        # rounding to nearest is safe: every value of this dtype that reached it still does
        floor = (threshold - self.slack).astype(values.dtype)
        query, row, place = Pairs.of(values >= floor[:, np.newaxis], chosen)
        return Pairs(query, row, values[query, place] + self.slack[query])

    def above(self, chosen: RowSelection, threshold: Float64Array) -> Pairs:
        """Return the pairs of chosen rows and queries whose ranks may reach `threshold` `[q]`."""
        return self.pairs(self.values(chosen), chosen, threshold)
