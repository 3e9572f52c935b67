"""Format 1 of a store's file: no word index, one checksum over a whole entry. It is only read, to be upgraded."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from zlib import crc32

import numpy as np

from conduit_lab.vectors.batch import Fields
from conduit_lab.vectors.disk.record import Damaged

_READ = "SELECT id, embedding, metadata, content, created_at, updated_at, checksum FROM entries_1 ORDER BY seq"


def entries(connection: sqlite3.Connection) -> Iterator[Fields]:
    """Yield the fields of every entry of the table, renamed `entries_1`, in the order of adding; raises `Damaged`."""
    for id, embedding, metadata, content, created_at, updated_at, checksum in connection.execute(_READ):
        text = f"{id}\0{metadata}" if content is None else f"{id}\0{metadata}\0{content}"
        if crc32(text.encode(), crc32(embedding)) != checksum:
            raise Damaged(f"entry {id!r} has a wrong checksum")
        yield id, np.frombuffer(embedding, "<f4"), json.loads(metadata), content, created_at, updated_at
