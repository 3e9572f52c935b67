"""Candidates: what a server found in float32, and the last word on them, which is said here in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.index import scoring

MARGIN = 64  # candidates beyond top_k, for what a server's sums put in the wrong order

_LARGEST = 1e16  # a server squares and sums in float32, which ends at 3e38


def searchable(metric: str, vectors: FloatArray, names: Sequence[str]) -> FloatArray:
    """Return what a server compares, float32 `[n, dimension]`: rows of length 1 for cosine, else as
    they are.

    So its products are cosines, a zero vector's too. Raises `VectorInputError` naming the first row
    of which a sum in float32 may overflow.
    """
    if metric == "cosine":
        lengths = scoring.row_lengths(vectors)
        units: FloatArray = (vectors / np.where(lengths == 0, 1, lengths)[:, np.newaxis]).astype(
            np.float32
        )
        return units
    large = np.abs(vectors).max(axis=1, initial=0) > _LARGEST
    if large.any():
        raise VectorInputError(
            f"{names[large.argmax()]} has a value beyond ±{_LARGEST:g}, and the server sums in float32, "
            "which would overflow: scale the vectors, or use the metric cosine"
        )
    return vectors


def searchable_entries(metric: str, entries: Sequence[Entry]) -> FloatArray:
    """Return what a server compares of each entry; raises as `searchable` does."""
    vectors = np.stack([entry.embedding for entry in entries])
    return searchable(metric, vectors, [f"the embedding of {entry.id!r}" for entry in entries])


def best(
    metric: str, vectors: FloatArray, order: Sequence[int], query: FloatArray, top_k: int
) -> list[tuple[int, float]]:
    """Return the positions and scores of the best of `vectors` `[n, dimension]`, ties by `order`."""
    scores = scoring.score_rows(vectors, query, metric)
    keys = scores if metric in scoring.DISTANCES else -scores
    return [
        (int(at), float(scores[at]))
        for at in np.lexsort((np.asarray(order, np.int64), keys))[:top_k]
    ]
