"""Rescoring: compute the float64 scores of candidates that a server found in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.index import scoring

EXTRA_CANDIDATES = 64  # beyond top_k, to allow for rounding in a server's order

_MAX_VALUE = 1e16  # servers square and sum in float32, whose maximum is 3e38


def searchable(metric: str, vectors: FloatArray, names: Sequence[str]) -> FloatArray:
    """Return the vectors that a server compares, float32 `[n, dimension]`; length 1 for cosine.

    Dot products are then cosines, also for a zero vector. Raises `VectorInputError` naming the
    first row whose sum may overflow float32.
    """
    if metric == "cosine":
        lengths = scoring.row_lengths(vectors)
        divisors = np.where(lengths == 0, 1, lengths)[:, np.newaxis]
        units: FloatArray = (vectors / divisors).astype(np.float32)
        return units
    large = np.abs(vectors).max(axis=1, initial=0) > _MAX_VALUE
    if large.any():
        raise VectorInputError(
            f"{names[large.argmax()]} has a value beyond ±{_MAX_VALUE:g}, which overflows the "
            "server's float32 sums: scale the vectors, or use the metric cosine"
        )
    return vectors


def searchable_entries(metric: str, entries: Sequence[Entry]) -> FloatArray:
    """Return the vectors of entries that a server compares; raises like `searchable`."""
    vectors = np.stack([entry.embedding for entry in entries])
    return searchable(metric, vectors, [f"the embedding of {entry.id!r}" for entry in entries])


def rescore(
    metric: str, vectors: FloatArray, order: Sequence[int], query: FloatArray, top_k: int
) -> list[tuple[int, float]]:
    """Return positions and scores of the best of `vectors` `[n, dimension]`, ties by `order`."""
    scores = scoring.score_rows(vectors, query, metric)
    keys = scores if metric in scoring.DISTANCES else -scores
    places = np.lexsort((np.asarray(order, np.int64), keys))[:top_k]
    return [(int(at), float(scores[at])) for at in places]
