"""Record: one entry as a row of the table `entries`, and back, with the CRC-32s that find flipped bits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.batch import Fields
from conduit_lab.vectors.entry import Entry

# `content` stands last, so that it is not read from the disk where it is not wanted.
TABLE = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    metadata_checksum INTEGER NOT NULL,
    embedding_checksum INTEGER NOT NULL,
    content_checksum INTEGER,
    metadata TEXT NOT NULL,
    embedding BLOB NOT NULL,
    content TEXT
) STRICT
"""
COLUMNS = "id, created_at, updated_at, metadata_checksum, embedding_checksum, content_checksum, metadata, embedding, content"
WITHOUT_EMBEDDING = COLUMNS.replace("metadata, embedding,", "metadata, x'',")
FOR_BLOCK = "id, metadata_checksum, embedding_checksum, metadata, embedding"
INSERT = f"INSERT INTO entries ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
PUT = f"""{INSERT}
ON CONFLICT (id) DO UPDATE SET updated_at = excluded.updated_at, metadata = excluded.metadata,
    embedding = excluded.embedding, content = excluded.content, metadata_checksum = excluded.metadata_checksum,
    embedding_checksum = excluded.embedding_checksum, content_checksum = excluded.content_checksum
"""

Row = tuple[str, float, float, int, int, int | None, str, bytes | memoryview, str | None]

_to_json = json.JSONEncoder(ensure_ascii=False).encode


class Damaged(Exception):
    """A row that is not what was written."""


class Block(NamedTuple):
    """Some entries without their contents; `vectors` is float32 `[n, dimension]`, `[n, 0]` where none are kept."""

    ids: list[str]
    vectors: FloatArray
    metadatas: list[dict[str, Any]]


def row(fields: Fields, width: int) -> Row:
    """Return the row of an entry, with the embedding's `width` values or, for 0, without it.

    Each checksum starts with the id's, so that it holds for this entry alone.
    """
    id, vector, values, text, created_at, updated_at = fields
    seed = crc32(id.encode())
    metadata = _to_json(values) if values else "{}"
    embedding = (
        vector.astype("<f4").tobytes() if width else b""
    )  # a copy, if the caller's changes meanwhile
    return (
        id,
        created_at,
        updated_at,
        crc32(metadata.encode(), seed),
        crc32(embedding, seed),
        None if text is None else crc32(text.encode(), seed),
        metadata,
        embedding,
        text,
    )


def with_embedding(row: Row, embedding: FloatArray) -> Row:
    """Return `row` with another embedding."""
    data = np.ascontiguousarray(embedding, "<f4").data
    return (*row[:4], crc32(data, crc32(row[0].encode())), row[5], row[6], data, row[8])


def entry(row: Row, width: int) -> Entry:
    """Return the entry of a row; raises `Damaged`."""
    (
        id,
        created_at,
        updated_at,
        metadata_checksum,
        embedding_checksum,
        content_checksum,
        metadata,
        data,
        text,
    ) = row
    one = block([(id, metadata_checksum, embedding_checksum, metadata, data)], width)
    return Entry(
        id,
        one.vectors[0],
        one.metadatas[0],
        content(id, content_checksum, text),
        created_at,
        updated_at,
    )


def block(rows: Sequence[tuple[str, int, int, str, bytes | memoryview]], width: int) -> Block:
    """Return rows `FOR_BLOCK` as a block with writable vectors; raises `Damaged`."""
    for id, metadata_checksum, embedding_checksum, metadata, embedding in rows:
        seed = crc32(id.encode())
        if (
            crc32(embedding, seed) != embedding_checksum
            or crc32(metadata.encode(), seed) != metadata_checksum
        ):
            raise Damaged(f"entry {id!r} has a wrong checksum")
        if len(embedding) != 4 * width:
            raise Damaged(f"the embedding of entry {id!r} has not {width} dimensions")
    ids, _, _, metadatas, embeddings = zip(*rows, strict=True)
    vectors = np.frombuffer(bytearray().join(embeddings), "<f4").astype(np.float32, copy=False)
    return Block(
        list(ids),
        vectors.reshape(len(ids), width),
        [{} if text == "{}" else json.loads(text) for text in metadatas],
    )


def content(id: str, checksum: int | None, text: str | None) -> str | None:
    """Return the content of a row; raises `Damaged`."""
    if checksum != (None if text is None else crc32(text.encode(), crc32(id.encode()))):
        raise Damaged(f"the content of entry {id!r} has a wrong checksum")
    return text
