"""PassageIndex: find a store's entry by the hash of its text or of a prefix of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from conduit_lab.core.quotation import SENTENCE_END

if TYPE_CHECKING:
    from conduit_lab.vectors.entry import Entry

_HASH_BYTES = 16  # of SHA-256
_KEY_BYTES = 8  # prefix of the hash in the index; matches are verified with the full hash
_MAX_ENTRIES = 1_000_000  # per store; passages of later entries have no page
_MAX_ENDS = 1_000  # per entry
_IDLE_PER_BUILD = 10.0  # minimum pause between builds, per second of the last build


def passage_hash(text: str) -> str:
    """Return the content hash of a passage: 32 hex digits of the SHA-256 of its UTF-8."""
    return sha256(text.encode("utf-8", "replace")).digest()[:_HASH_BYTES].hex()


class PassageIndex:
    """Finds entries of one store by the hash of their content, or of a prefix of it.

    A `Rag` truncates a passage that does not fit at a sentence end, so prefixes up to each sentence
    end are indexed too; a passage truncated inside a sentence is not found. The index is built on
    the first lookup, and rebuilt when a lookup fails after the store has changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._version: Any = self  # of the store; a sentinel before the first build
        self._keys = np.zeros(0, np.uint64)  # sorted
        self._rows = np.zeros(0, np.int64)  # index in `_ids` per key
        self._ids: list[str] = []
        self._build_after = 0.0  # monotonic time

    @staticmethod
    def of(store: Any) -> PassageIndex:
        """Return the index of a store, shared in this process."""
        with _indexes_lock:
            return _indexes.setdefault(store, PassageIndex())

    def find(self, store: Any, digest: str) -> Entry | None:
        """Return the entry of `store` with this hash of its content or of a prefix, or None."""
        with self._lock:
            entry = self._found(store, digest)
            version = getattr(store, "version", None)
            if entry is None and version != self._version and monotonic() >= self._build_after:
                self._build(store)
                self._version = version
                entry = self._found(store, digest)
            return entry

    def _found(self, store: Any, digest: str) -> Entry | None:
        key = np.uint64(int.from_bytes(bytes.fromhex(digest)[:_KEY_BYTES]))
        first, last = (int(np.searchsorted(self._keys, key, side)) for side in ("left", "right"))
        for row in self._rows[first:last]:
            entry: Entry | None = store.get(self._ids[row])
            if entry is not None and bytes.fromhex(digest) in _hashes(entry.content or ""):
                return entry
        return None

    def _build(self, store: Any) -> None:
        begun = monotonic()
        ids: list[str] = []
        keys: list[int] = []
        rows: list[int] = []
        for entry in islice(store.entries(), _MAX_ENTRIES):
            own = {int.from_bytes(each[:_KEY_BYTES]) for each in _hashes(entry.content or "")}
            keys += own
            rows += [len(ids)] * len(own)
            ids.append(entry.id)
        found = np.array(keys, np.uint64)
        order = np.argsort(found, kind="stable")
        self._keys, self._rows, self._ids = found[order], np.array(rows, np.int64)[order], ids
        self._build_after = monotonic() + _IDLE_PER_BUILD * (monotonic() - begun)


_indexes: WeakKeyDictionary[Any, PassageIndex] = WeakKeyDictionary()
_indexes_lock = threading.Lock()


def _hashes(text: str) -> Iterator[bytes]:
    """Yield the hash of each prefix up to a sentence end, and of the whole text."""
    digest, done = sha256(), 0
    for found in islice(SENTENCE_END.finditer(text), _MAX_ENDS):
        if found.end() > done:
            digest.update(text[done : found.end()].encode("utf-8", "replace"))
            done = found.end()
            yield digest.digest()[:_HASH_BYTES]
    if done < len(text):
        yield bytes.fromhex(passage_hash(text))
