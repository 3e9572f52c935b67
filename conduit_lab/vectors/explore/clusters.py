"""Clusters: groups of entries on a map, by k-means in bounded time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.arrays import IntArray

MAX_CLUSTERS = 7  # the data colours without the text's own
_SEED_ROWS = 2_048  # from which the first centres are chosen
_FIT_ROWS = 8_192
_ITERATIONS = 12
_TRIES = 4  # with different seeds; the tightest is kept
_BLOCK_ROWS = 16_384  # assigned together: 0.5 MB of distances


class Clusters(NamedTuple):
    """The cluster of each entry, int64 `[n]`, and the centres `[k, m]`, largest cluster first.

    No cluster is empty.
    """

    labels: IntArray
    centres: FloatArray

    @property
    def sizes(self) -> IntArray:
        """The number of entries of each cluster."""
        return np.bincount(self.labels, minlength=len(self.centres))


def cluster_count(entries: int) -> int:
    """Return the initial number of clusters for a map of this many entries."""
    return min(MAX_CLUSTERS, max(1, round(math.sqrt(entries) / 2)))


def k_means(points: FloatArray, count: int) -> Clusters:
    """Return at most `count` clusters of points `[n, m]`, n at least 1.

    Centres are seeded by k-means++ (Arthur and Vassilvitskii 2007) and fitted to at most 8,192 of
    the points; all points are then assigned. Fewer distinct points produce fewer clusters.
    """
    random = np.random.default_rng(0)
    fit = points[random.permutation(len(points))[:_FIT_ROWS]]
    tries = [_moved(fit, _seeds(fit[:_SEED_ROWS], count, random)) for _ in range(_TRIES)]
    centres = min(tries, key=lambda each: _spread(fit, each))
    labels = _nearest(points, centres)
    sizes = np.bincount(labels, minlength=len(centres))
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    renamed = np.zeros(len(centres), np.int64)
    renamed[order] = np.arange(len(order))
    return Clusters(renamed[labels], centres[order])


def _moved(fit: FloatArray, centres: FloatArray) -> FloatArray:
    """Return centres moved to the means of their points until they converge."""
    for _ in range(_ITERATIONS):
        labels = _nearest(fit, centres)
        sizes = np.bincount(labels, minlength=len(centres))
        sums = np.zeros(centres.shape, np.float64)
        for place in range(len(centres)):
            sums[place] = fit[labels == place].sum(axis=0, dtype=np.float64)
        kept = sizes > 0
        moved = (sums[kept] / sizes[kept, np.newaxis]).astype(np.float32)
        still = len(moved) == len(centres) and np.allclose(moved, centres, atol=1e-6)
        centres = moved
        if still:
            break
    return centres


def _spread(points: FloatArray, centres: FloatArray) -> float:
    """Return the mean squared distance of points to their nearest centre."""
    off = points - centres[_nearest(points, centres)]
    return float(np.vecdot(off, off).mean(dtype=np.float64))


def _seeds(points: FloatArray, count: int, random: np.random.Generator) -> FloatArray:
    """Return up to `count` distinct points that are far apart."""
    chosen = [points[0]]
    off = np.square(points - chosen[0]).sum(axis=1, dtype=np.float64)
    while len(chosen) < count and off.max() > 1e-9:
        chosen.append(points[random.choice(len(points), p=off / off.sum())])
        off = np.minimum(off, np.square(points - chosen[-1]).sum(axis=1, dtype=np.float64))
    return np.stack(chosen)


def _nearest(points: FloatArray, centres: FloatArray) -> IntArray:
    """Return the nearest centre of each point."""
    half = np.vecdot(centres, centres) / 2
    each = [
        (points[at : at + _BLOCK_ROWS] @ centres.T - half).argmax(axis=1)
        for at in range(0, len(points), _BLOCK_ROWS)
    ]
    return np.concatenate(each) if each else np.zeros(0, np.int64)
