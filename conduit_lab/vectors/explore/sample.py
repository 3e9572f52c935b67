"""Sample: the entries shown on a map, with vectors that are safe to compute with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.arrays import Float64Array, IntArray
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.filters import Filter
from conduit_lab.vectors.local_backend import LocalBackend

_PAGE_ENTRIES = 512  # read together from a server
_MAX_RELATIVE_LENGTH = 32.0  # of a vector to the median, for metrics that depend on length
_UNIT_SLACK = 1e-5
# Squared lengths between these neither overflow nor underflow in float32.
_MIN_SQUARE, _MAX_SQUARE = 1e-30, 1e30


class EntrySample(NamedTuple):
    """Entries in insertion order: ids, vectors float32 `[n, dimension]`, and metadata.

    `total` is the number of entries they were chosen from. The metadata is shared with the store:
    callers must not change it.
    """

    ids: list[str]
    vectors: FloatArray
    metadatas: list[dict[str, Any]]
    total: int


def read_sample(backend: Backend, where: Any, limit: int) -> EntrySample:
    """Return the entries that `where` selects, or a random sample of `limit` if there are more.

    The sample is reproducible. Entries deleted meanwhile are omitted.
    """
    if isinstance(backend, LocalBackend):
        rows, total = backend.rows_where(where, lambda count: _chosen(count, limit))
        return EntrySample(*rows, total)
    assert where is None or isinstance(where, Filter)
    all_ids = backend.ids(where)
    ids = [all_ids[at] for at in _chosen(len(all_ids), limit).tolist()]
    entries = []
    for at in range(0, len(ids), _PAGE_ENTRIES):
        entries += [entry for entry in backend.get(ids[at : at + _PAGE_ENTRIES]) if entry]
    vectors = np.zeros((len(entries), backend.dimension), np.float32)
    for row, entry in zip(vectors, entries, strict=True):
        row[:] = entry.embedding
    return EntrySample(
        [entry.id for entry in entries],
        vectors,
        [entry.metadata for entry in entries],
        len(all_ids),
    )


class VectorScale:
    """Scales vectors for distances on a map; the results are finite for any length.

    For cosine all vectors are scaled to length 1, zero vectors to 0. For other metrics lengths are
    relative to the median of the initial `vectors` `[n, dimension]`, and at most 32 times the
    median.
    """

    def __init__(self, vectors: FloatArray, metric: str) -> None:
        self._metric = metric
        present = (lengths := _lengths(vectors)[0])[lengths > 0]
        self._middle = float(np.quantile(present, 0.5)) if len(present) else 1.0

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Return scaled vectors `[m, dimension]`."""
        lengths, odd = _lengths(vectors)
        divisors = np.where(lengths > 0, lengths, 1.0)
        if self._metric != "cosine":
            most = self._middle * _MAX_RELATIVE_LENGTH
            divisors = self._middle * np.maximum(1.0, lengths / most)
        if np.abs(divisors - 1).max(initial=0.0) < _UNIT_SLACK:
            return vectors  # already of length 1, as from many models
        factors = 1 / divisors
        factors[odd] = 0  # float32 cannot represent such a factor
        scaled: FloatArray = vectors * factors.astype(np.float32)[:, np.newaxis]
        if len(odd):
            scaled[odd] = vectors[odd].astype(np.float64) / divisors[odd, np.newaxis]
        return scaled


def _lengths(vectors: FloatArray) -> tuple[Float64Array, IntArray]:
    """Return the length of each row, and the rows whose squared length float32 cannot represent."""
    with np.errstate(over="ignore", under="ignore"):
        squares = np.vecdot(vectors, vectors)
    lengths = np.sqrt(squares.astype(np.float64))
    odd = np.flatnonzero(~((squares > _MIN_SQUARE) & (squares < _MAX_SQUARE)))
    if len(odd):
        lengths[odd] = np.linalg.norm(vectors[odd].astype(np.float64), axis=1)
    return lengths, odd


def _chosen(count: int, limit: int) -> IntArray:
    """Return the indices of at most `limit` of `count` entries, ascending."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, limit, replace=False, shuffle=False))
