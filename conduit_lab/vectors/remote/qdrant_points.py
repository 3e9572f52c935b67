"""Convert points of a Qdrant collection to entries and back."""

from __future__ import annotations

import base64
import json
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.backend import Match
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.remote.where_qdrant import payload

if TYPE_CHECKING:
    from qdrant_client import models

ENTRY_FIELDS = ["id", "content", "metadata", "created_at", "updated_at", "embedding"]
MATCH_FIELDS = ["id", "content", "metadata", "order"]


def point_key(id: str) -> str:
    """Return the point ID of an entry; Qdrant accepts UUIDs and numbers only."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, id))


def terms_text(terms: Counter[str]) -> str:
    """Return the text for Qdrant to index, with each term as often as it occurs."""
    return " ".join(terms.elements())


def entry_to_point(
    entry: Entry, vector: FloatArray, metric: str, kept: dict[str, Any]
) -> models.PointStruct:
    """Return the point of an entry; `kept` are payload fields preserved from a replaced point."""
    from qdrant_client import models

    fields = {
        "id": entry.id,
        "content": entry.content,
        "metadata": json.dumps(entry.metadata, ensure_ascii=False),
        "updated_at": entry.updated_at,
        **kept,
        **payload(entry.metadata),
    }
    if metric == "cosine":
        fields["embedding"] = base64.b64encode(entry.embedding.astype("<f4").tobytes()).decode()
    return models.PointStruct(id=point_key(entry.id), vector=vector.tolist(), payload=fields)


def point_to_entry(point: Any, metric: str, dimension: int) -> Entry:
    """Return the entry of a point with `ENTRY_FIELDS` and its vector."""
    fields, [vector] = point.payload, point_vectors([point], metric, dimension)
    times = fields["created_at"], fields["updated_at"]
    return Entry(fields["id"], vector, point_metadata(point), fields["content"], *times)


def point_to_match(point: Any, score: Any) -> Match:
    """Return the match of a point with `MATCH_FIELDS`."""
    fields = point.payload
    return Match(fields["id"], float(score), fields["content"], point_metadata(point))


def point_metadata(point: Any) -> dict[str, Any]:
    """Return the metadata of a point."""
    metadata: dict[str, Any] = json.loads(point.payload["metadata"])
    return metadata


def point_vectors(points: Sequence[Any], metric: str, dimension: int) -> FloatArray:
    """Return the original embeddings of points, float32 `[n, dimension]`."""
    if metric == "cosine":
        raw = b"".join(base64.b64decode(point.payload["embedding"]) for point in points)
        vectors = np.frombuffer(raw, "<f4").astype(np.float32)
    else:
        vectors = np.array([point.vector for point in points], np.float32)
    return vectors.reshape(len(points), dimension)
