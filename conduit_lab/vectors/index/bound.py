"""Bound: what a row's rank is at most, told of many rows at once; and how rows are named."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Chosen = slice | IntArray  # rows of one block as they lie, or rows at any places in ascending order


class Pairs(NamedTuple):
    """Pairs of a query and a row, and a number that the rank of each is not above."""

    query: IntArray
    row: IntArray
    bound: Array

    @classmethod
    def of(cls, reach: BoolArray, chosen: Chosen) -> Pairs:
        """Return the pairs for which `reach` `[q, m]` is true, their bounds not told yet."""
        at = np.flatnonzero(reach)
        query, at = (np.zeros_like(at), at) if len(reach) == 1 else np.divmod(at, reach.shape[1])
        return cls(query, at + chosen.start if isinstance(chosen, slice) else chosen[at], at)

    def where(self, keep: BoolArray | IntArray) -> Pairs:
        """Return those that `keep` names."""
        return Pairs(self.query[keep], self.row[keep], self.bound[keep])


class Bound(ABC):
    """Bounds the ranks of rows for some queries: none is above its value by more than its query's `plus` `[q]`."""

    plus: Array

    @abstractmethod
    def values(self, chosen: Chosen) -> Array:
        """Return the values of `m` rows, a new array float `[q, m]`."""

    def short(self, chosen: Chosen) -> Array | None:
        """Return by how much a rank may be below its value `[q]`; None where that is much, or nobody knows."""
        return None

    def pairs(self, values: Array, chosen: Chosen, least: npt.NDArray[np.float64]) -> Pairs:
        """Return the pairs whose values reach `least` `[q]`."""
        floor = np.nextafter(
            (least - self.plus).astype(values.dtype), -np.inf
        )  # rounded down, so that none is missed
        query, row, at = Pairs.of(values >= floor[:, np.newaxis], chosen)
        return Pairs(query, row, values[query, at] + self.plus[query])

    def above(self, chosen: Chosen, least: npt.NDArray[np.float64]) -> Pairs:
        """Return every pair of a chosen row and a query whose rank may be at least the query's `least` `[q]`."""
        return self.pairs(self.values(chosen), chosen, least)
