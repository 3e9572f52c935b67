"""Neighbourhood: near-duplicates and outliers of a map, in O(n log n) time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.arrays import Float64Array, IntArray
from conduit_lab.vectors.duplicates import joined_items

DUPLICATE_COSINE = 0.95  # as in `VectorStore.duplicates`
EXACT_ENTRIES = 2_048  # up to this number, all pairs are compared
MAX_OUTLIERS = 50
_NEIGHBOURS = 10  # the distance to the last measures an entry's isolation
_CELL_ENTRIES = 512
_PASSES = 2  # with different cell borders: a pair separated in one pass is found in the other
_NEAREST = 4  # within a cell, compared with each entry in all dimensions
_PAIRS = 16_384  # compared together
_CHECKED = 64  # most isolated in their cells, and as many others, compared with all entries
_FENCE = 3.0  # interquartile ranges above the upper quartile: Tukey's "far out"
_MIN_DISTANCE = 0.05  # closer entries are never outliers
_SLACK = 1e-6  # rounding of a float32 cosine


class Neighbourhood(NamedTuple):
    """Groups of near-duplicates, largest first, and outliers, most isolated first.

    Both hold indices of entries. `exact` is whether all pairs were compared; otherwise each entry
    was compared with the nearest in its cell, a few hundred entries that are near along the
    principal directions, and outliers with all entries.
    """

    groups: list[IntArray]
    outliers: IntArray
    exact: bool


def find_neighbourhood(units: FloatArray, components: FloatArray) -> Neighbourhood:
    """Return near-duplicates and outliers among rows of length 1 or 0 `[n, dimension]`.

    `components` `[n, k]` are the same rows along principal directions.
    """
    present = np.flatnonzero(np.vecdot(units, units) > 0.5)
    if len(present) <= EXACT_ENTRIES:
        cosines = units[present] @ units[present].T
        np.fill_diagonal(cosines, -2.0)
        rows, columns = np.nonzero(np.triu(cosines >= DUPLICATE_COSINE - _SLACK))
        groups = _groups(len(units), [(present[rows], present[columns])])
        distances = _kth_distances(cosines)
        return Neighbourhood(groups, _far(present, distances, distances), True)
    pairs = []
    alone = np.full(len(units), np.inf)
    for cell in _cells(components, present):
        near, kth = _near_in_cell(components[cell])
        alone[cell] = np.minimum(alone[cell], kth)
        first = np.repeat(cell, near.shape[1])
        second = cell[near.ravel()]
        pairs.append((first, second))
    kept = [_near_pairs(units, *pair) for pair in pairs]
    return Neighbourhood(_groups(len(units), kept), _checked_outliers(units, present, alone), False)


def _near_pairs(units: FloatArray, first: IntArray, second: IntArray) -> tuple[IntArray, IntArray]:
    """Return the pairs of rows that are near-duplicates."""
    kept = np.zeros(len(first), np.bool_)
    for at in range(0, len(first), _PAIRS):
        here = slice(at, at + _PAIRS)
        cosines = np.vecdot(units[first[here]], units[second[here]])
        kept[here] = cosines >= DUPLICATE_COSINE - _SLACK
    return first[kept], second[kept]


def _groups(count: int, pairs: list[tuple[IntArray, IntArray]]) -> list[IntArray]:
    """Return the groups connected by chains of pairs, largest first."""
    roots = joined_items(count, pairs)
    order = np.argsort(roots, kind="stable")
    _, starts, sizes = np.unique(roots[order], return_index=True, return_counts=True)
    several = np.flatnonzero(sizes > 1)
    spans = zip(starts[several].tolist(), sizes[several].tolist(), strict=True)
    return sorted((order[at : at + size] for at, size in spans), key=len, reverse=True)


def _cells(components: FloatArray, present: IntArray) -> Iterator[IntArray]:
    """Yield groups of at most 512 nearby entries; each entry is in two."""
    width = components.shape[1]
    for turn in range(_PASSES):
        # Each rotation has different borders.
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


def _near_in_cell(points: FloatArray) -> tuple[IntArray, Float64Array]:
    """Return for each row the indices of its nearest rows and of the first, and the tenth distance.

    Distances are squared and along the principal directions only: a lower bound.
    """
    squares = np.vecdot(points, points)
    off = squares[:, np.newaxis] + squares - 2 * (points @ points.T)
    np.fill_diagonal(off, np.inf)
    # many equal entries may not be among each other's four nearest, but share the first
    near = np.zeros((len(points), _NEAREST + 1), np.int64)
    order = np.argpartition(off, (_NEAREST, _NEIGHBOURS - 1), axis=1)
    near[:, 1:] = order[:, :_NEAREST]
    kth = np.take_along_axis(off, order[:, _NEIGHBOURS - 1 : _NEIGHBOURS], axis=1)[:, 0]
    return near, np.maximum(0.0, kth.astype(np.float64))


def _kth_distances(cosines: FloatArray) -> Float64Array:
    """Return 1 - the cosine of the tenth nearest other row, or the farthest if there are fewer.

    The row itself must have a cosine below all others, or is counted as an additional neighbour.
    """
    count = cosines.shape[1]
    if count < 2:
        return np.zeros(len(cosines))
    at = count - min(_NEIGHBOURS, count - 1)
    return np.maximum(0.0, 1 - np.partition(cosines, at, axis=1)[:, at].astype(np.float64))


def _far(places: IntArray, distances: Float64Array, usual: Float64Array) -> IntArray:
    """Return the indices with a distance far above the usual ones, farthest first."""
    if len(usual) <= _NEIGHBOURS:
        return np.zeros(0, np.int64)
    low, high = np.quantile(usual, (0.25, 0.75))
    far = np.flatnonzero(distances > max(_MIN_DISTANCE, high + _FENCE * (high - low)))
    return places[far[np.argsort(-distances[far], kind="stable")]][:MAX_OUTLIERS]


def _checked_outliers(units: FloatArray, present: IntArray, alone: Float64Array) -> IntArray:
    """Return outliers among the entries that are most isolated in their cells.

    These and as many random entries are compared with all entries.
    """
    most = present[np.argsort(-alone[present], kind="stable")[:_CHECKED]]
    others = np.random.default_rng(0).choice(present, _CHECKED, replace=False)
    own = np.arange(2 * _CHECKED)
    asked = np.concatenate([most, others])
    cosines = units[asked] @ units.T
    cosines[own, asked] = -2.0
    distances = _kth_distances(cosines)
    return _far(most, distances[:_CHECKED], distances[_CHECKED:])
