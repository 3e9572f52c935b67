"""Bound: what a row's rank is at most, told of many rows at once; and how rows are named."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Chosen = slice | IntArray  # rows of one block as they lie, or rows at any places in ascending order


class Bound(Protocol):
    """Bounds the ranks of rows for some queries: no rank is above value x `times` + `plus`, both float `[q]`."""

    times: Array
    plus: Array

    def __call__(self, chosen: Chosen) -> Array:
        """Return the values of `m` rows, a new array float `[q, m]`."""
