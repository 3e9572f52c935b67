"""Record: an entry as a row of the table `entries`, with CRC-32s that find flipped bits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views import figures
from conduit_lab.vectors.batch import Fields
from conduit_lab.vectors.entry import Entry

# `content` is last, so reads of other columns skip its pages.
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
ENTRY_COLUMNS = (
    "id, created_at, updated_at, metadata_checksum, embedding_checksum, content_checksum, "
    "metadata, embedding, content"
)
WITHOUT_EMBEDDING = ENTRY_COLUMNS.replace("metadata, embedding,", "metadata, x'',")
FOR_BLOCK = "id, metadata_checksum, embedding_checksum, metadata, embedding"
INSERT = f"INSERT INTO entries ({ENTRY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPSERT = f"""{INSERT}
ON CONFLICT (id) DO UPDATE SET updated_at = excluded.updated_at, metadata = excluded.metadata,
    embedding = excluded.embedding, content = excluded.content,
    metadata_checksum = excluded.metadata_checksum,
    embedding_checksum = excluded.embedding_checksum, content_checksum = excluded.content_checksum
"""

EntryRow = tuple[str, float, float, int, int, int | None, str, bytes | memoryview, str | None]

_to_json = json.JSONEncoder(ensure_ascii=False).encode


class Damaged(Exception):
    """A row that differs from the written row."""


class Block(NamedTuple):
    """Entries without their contents.

    `vectors` is float32 `[n, dimension]`, or `[n, 0]` if none are stored.
    """

    ids: list[str]
    vectors: FloatArray
    metadatas: list[dict[str, Any]]


def to_row(fields: Fields, width: int) -> EntryRow:
    """Return the row of an entry, with its embedding of `width` values; 0 omits it.

    Each checksum starts from the id's checksum, so it is valid only for this entry.
    """
    id, vector, values, text, created_at, updated_at = fields
    seed = crc32(id.encode())
    metadata = _to_json(values) if values else "{}"
    embedding = vector.astype("<f4").tobytes() if width else b""
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


def with_embedding(row: EntryRow, embedding: FloatArray) -> EntryRow:
    """Return `row` with another embedding."""
    data = np.ascontiguousarray(embedding, "<f4").data
    return (*row[:4], crc32(data, crc32(row[0].encode())), row[5], row[6], data, row[8])


def to_entry(row: EntryRow, width: int) -> Entry:
    """Return the entry of a row; raises `Damaged`."""
    id, created_at, updated_at, metadata_sum, embedding_sum, content_sum = row[:6]
    metadata, embedding, text = row[6:]
    block = to_block([(id, metadata_sum, embedding_sum, metadata, embedding)], width)
    [content] = to_contents([(id, content_sum, text)])
    return Entry(id, block.vectors[0], block.metadatas[0], content, created_at, updated_at)


def to_block(rows: Sequence[tuple[str, int, int, str, bytes | memoryview]], width: int) -> Block:
    """Return rows `FOR_BLOCK` as a block with writable vectors; raises `Damaged`."""
    for id, metadata_checksum, embedding_checksum, metadata, embedding in rows:
        seed = crc32(id.encode())
        intact = crc32(embedding, seed) == embedding_checksum
        if not intact or crc32(metadata.encode(), seed) != metadata_checksum:
            raise Damaged(f"entry {id!r} has a wrong checksum")
        if len(embedding) != 4 * width:
            dimensions = figures.plural(width, "dimension")
            raise Damaged(f"the embedding of entry {id!r} does not have {dimensions}")
    ids, _, _, metadatas, embeddings = zip(*rows, strict=True)
    vectors = np.frombuffer(bytearray().join(embeddings), "<f4").astype(np.float32, copy=False)
    return Block(
        list(ids),
        vectors.reshape(len(ids), width),
        [{} if text == "{}" else json.loads(text) for text in metadatas],
    )


def to_contents(
    rows: Sequence[tuple[str, int | None, str | None] | None],
) -> list[str | None]:
    """Return the contents of rows (id, checksum, content), None for None; raises `Damaged`."""
    contents: list[str | None] = []
    for row in rows:
        if row is None:
            contents.append(None)
            continue
        id, checksum, text = row
        if checksum != (None if text is None else crc32(text.encode(), crc32(id.encode()))):
            raise Damaged(f"the content of entry {id!r} has a wrong checksum")
        contents.append(text)
    return contents
