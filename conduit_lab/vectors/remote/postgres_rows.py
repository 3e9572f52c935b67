"""Convert rows of a store's PostgreSQL table to entries and back."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.backend import Match
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.remote import terms_sql
from conduit_lab.vectors.remote.where_sql import attributes, decode_text, encode_text

ENTRY_SELECT = "id, embedding, metadata::text, content, created_at, updated_at"
MATCH_SELECT = 'id, content, metadata::text, "order"'


def row_key(id: str) -> uuid.UUID:
    """Return the primary key of an id, which may exceed the length limit of an index."""
    return uuid.uuid5(uuid.NAMESPACE_OID, id)


def entry_to_row(entry: Entry, nearby: FloatArray, terms: Counter[str]) -> tuple[Any, ...]:
    """Return the values of a row, in the order of the insert statement."""
    return (
        row_key(entry.id),
        encode_text(entry.id),
        entry.embedding.astype("<f4").tobytes(),
        vector_text(nearby),
        json.dumps(entry.metadata),
        attributes(entry.metadata),
        None if entry.content is None else encode_text(entry.content),
        entry.created_at,
        entry.updated_at,
        *terms_sql.term_columns(entry.content, terms),
    )


def row_to_entry(
    id: str, embedding: bytes, metadata: str, content: str | None, created: float, updated: float
) -> Entry:
    """Return the entry of a row `ENTRY_SELECT`."""
    text = None if content is None else decode_text(content)
    vector = embedding_vector(embedding)
    return Entry(decode_text(id), vector, json.loads(metadata), text, created, updated)


def row_to_match(row: Sequence[Any], score: Any) -> Match:
    """Return the match of a row that starts with `MATCH_SELECT`."""
    id, content, metadata, *_ = row
    text = None if content is None else decode_text(content)
    return Match(decode_text(id), float(score), text, json.loads(metadata))


def embedding_vector(embedding: bytes) -> FloatArray:
    """Return the vector of the column `embedding`."""
    return np.frombuffer(embedding, "<f4").astype(np.float32)


def vector_text(vector: FloatArray) -> str:
    """Return the text form of a vector, which parses to exactly the same float32 values."""
    return str(vector.astype(np.float64).tolist())
