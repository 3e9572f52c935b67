"""Neighbourhood: near duplicates and outliers of a map, in time that grows with n log n."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.arrays import BoolArray, Float64Array, IntArray
from conduit_lab.vectors.duplicates import joined_items

DUPLICATE_COSINE = 0.95  # as `VectorStore.duplicates` has it
EXACT_ENTRIES = 4_096  # up to this many, all pairs are compared
MAX_OUTLIERS = 50
_NEIGHBOURS = 10  # whose last one's distance says how alone an entry is
_CELL_ENTRIES = 512
_PASSES = 2  # cells of different borders: a pair that one separates is found in the other
_CHECKED = 96  # the most alone by their cells, compared with all entries
_FENCE = 3.0  # interquartile ranges above the upper quartile: Tukey's "far out"
_MIN_DISTANCE = 0.05  # below this nothing is far
_SLACK = 1e-6  # rounding of a float32 cosine


class Neighbourhood(NamedTuple):
    """Groups of near duplicates, the largest first, and outliers, the most alone first.

    Both hold places of entries. `exact` says whether all pairs were compared; else an entry was
    compared with the 512 nearest along principal directions, and outliers with all entries.
    """

    groups: list[IntArray]
    outliers: IntArray
    exact: bool


def find_neighbourhood(units: FloatArray, components: FloatArray) -> Neighbourhood:
    """Return near duplicates and outliers among rows of length 1 or 0 `[n, dimension]`.

    `components` `[n, k]` are the same rows along principal directions.
    """
    count = len(units)
    present = np.flatnonzero(np.vecdot(units, units) > 0.5)
    exact = len(present) <= EXACT_ENTRIES
    distances = np.full(count, np.inf)
    first: list[IntArray] = []
    second: list[IntArray] = []
    for cell in _cells(components, present, exact):
        cosines = units[cell] @ units[cell].T
        np.fill_diagonal(cosines, -2.0)
        rows, columns = np.nonzero(np.triu(cosines >= DUPLICATE_COSINE - _SLACK))
        first.append(cell[rows])
        second.append(cell[columns])
        distances[cell] = np.minimum(distances[cell], _kth_distance(cosines))
    pairs = [(np.concatenate(first), np.concatenate(second))] if first else []
    roots = joined_items(count, pairs)
    order = np.argsort(roots, kind="stable")
    groups = [
        each for each in np.split(order, np.flatnonzero(np.diff(roots[order])) + 1) if len(each) > 1
    ]
    groups.sort(key=len, reverse=True)
    return Neighbourhood(groups, _outliers(units, present, distances, exact), exact)


def _cells(components: FloatArray, present: IntArray, exact: bool) -> Iterator[IntArray]:
    """Yield groups of at most 512 near entries; with `exact` one of all."""
    if exact:
        if len(present) > 1:
            yield present
        return
    for turn in range(_PASSES):
        # Another rotation has other borders.
        width = components.shape[1]
        rotation = np.linalg.qr(np.random.default_rng(turn).standard_normal((width, width)))[0]
        turned = components[present] @ rotation.astype(np.float32)
        parts = [np.arange(len(present))]
        while parts:
            part = parts.pop()
            if len(part) <= _CELL_ENTRIES:
                yield present[part]
                continue
            widest = turned[part, int(turned[part].var(axis=0).argmax())]
            half = np.argpartition(widest, len(part) // 2)
            parts += [part[half[: len(part) // 2]], part[half[len(part) // 2 :]]]


def _kth_distance(cosines: FloatArray) -> Float64Array:
    """Return 1 - the cosine of the tenth nearest other row, of the farthest where there are fewer.

    The diagonal of `cosines` is below every cosine.
    """
    count = len(cosines)
    at = count - min(_NEIGHBOURS, count - 1)
    kth = np.partition(cosines, at, axis=1)[:, at]
    return np.maximum(0.0, 1 - kth.astype(np.float64))


def _outliers(
    units: FloatArray, present: IntArray, distances: Float64Array, exact: bool
) -> IntArray:
    if len(present) <= _NEIGHBOURS:
        return np.zeros(0, np.int64)
    own = distances[present]
    low, high = np.quantile(own, (0.25, 0.75))
    fence = max(_MIN_DISTANCE, high + _FENCE * (high - low))
    far: BoolArray = own > fence
    alone = present[far][np.argsort(-own[far], kind="stable")]
    if not exact:
        alone = alone[:_CHECKED]
        for place in alone.tolist():
            near = np.partition(units @ units[place], -_NEIGHBOURS - 1)[-_NEIGHBOURS - 1]
            distances[place] = 1 - float(near)
        alone = alone[distances[alone] > fence]
        alone = alone[np.argsort(-distances[alone], kind="stable")]
    return alone[:MAX_OUTLIERS]
