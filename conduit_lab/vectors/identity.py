"""Identity: which embedder made a store's vectors, so that vectors of two models are never mixed.

It is kept in the store's file, with the notes `embedder.key`, `embedder.name` and `embedder.probe`.
An embedder says what it is by its `fingerprint`, a text that changes with whatever changes its
vectors; one without is known by its class, its name and the vector of one fixed text, and where
those differ, by its vectors of some stored texts.
"""

from __future__ import annotations

import json
import warnings
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.spec import Array, EmbedderProtocol
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.batch import Batch
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.embedding import as_matrix, embed_contents, embed_passages
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.local import Local

_NOTES = "embedder."
_TRIED, _COMPARED = 64, 4  # entries that are read, and texts that are embedded, to compare
# of its length: how far a vector may be from the one that is stored; float16 stays below 0.001
_SAME = 0.1
_PAGE = 256
_PROBE = "Which embedder made this vector?"
_SHOWN = 12  # characters of a fingerprint in an error


class Identity(NamedTuple):
    """What an embedder is: `key` decides, and `probe` where there is no fingerprint; `name` is for people."""

    key: str
    name: str
    probe: str = ""

    @classmethod
    def of(cls, embedder: EmbedderProtocol, *, probed: bool) -> Identity:
        """Return the identity of an embedder, `probed` where it has no fingerprint."""
        kind = type(embedder)
        name = getattr(embedder, "name", None)
        shown = name if isinstance(name, str) else kind.__name__
        fingerprint = getattr(embedder, "fingerprint", None)
        if isinstance(fingerprint, str):
            return cls(f"content {fingerprint}", shown)
        return cls(
            f"class {kind.__module__}.{kind.__qualname__} {shown}",
            shown,
            _probe(embedder) if probed else "",
        )

    @property
    def certain(self) -> bool:
        """Whether another key is surely another embedder."""
        return self.key.startswith("content ")

    def equals(self, other: Identity) -> bool:
        """Return whether both are the same embedder, by the probes where both have one."""
        if self.key != other.key or not (self.probe and other.probe):
            return self.key == other.key
        mine, theirs = np.array(json.loads(self.probe)), np.array(json.loads(other.probe))
        return mine.shape == theirs.shape and bool(_near(mine, theirs) <= 0)

    def __str__(self) -> str:
        return (
            f"{self.name!r} ({self.key[: len('content ') + _SHOWN] if self.certain else self.key})"
        )


def verify(
    backend: Backend, embedder: EmbedderProtocol | None, store: str, again: bool = False
) -> None:
    """Record `embedder` as the one of a store that has none; raise `StoreError` where another made
    its vectors.

    Warns where none is recorded and the stored vectors are not what `embedder` makes of their
    texts. `again` lets `embedder` make them again in both cases.
    """
    if not isinstance(backend, Local):
        return
    _rely(backend, None)
    if embedder is None:
        return
    # A store in memory is seldom given another embedder: there a text less is embedded.
    mine, known = Identity.of(embedder, probed=backend.path is not None), read(backend)
    same = known is not None and known.equals(mine)
    if backend.count() and not same:
        agree = (
            None
            if known is not None and known.certain and mine.certain
            else _agree(backend, embedder)
        )
        wrong = agree is False or (known is not None and not agree)
        if wrong and again:
            reembed(backend, embedder, store)
            return
        if wrong and known is not None:
            raise StoreError(
                f"store {store!r} has the vectors of the embedder {known}, got {mine}, which makes others: open it "
                "with the embedder that made them, or embed its texts again with VectorStore(path=…, embedder=…, "
                "reembed=True), or store.reembed(embedder) without one"
            )
        if wrong:
            warnings.warn(
                f"store {store!r} has vectors that the embedder {mine.name!r} does not make of their texts: if another "
                "embedder made them, embed the texts again with store.reembed()",
                stacklevel=3,
            )
            return
        if known is not None and known.certain:
            _rely(backend, known)
            return
    with suppress(StoreError):  # a file that cannot be written
        if known is None or not same or (mine.probe and not known.probe):
            write(backend, mine)
            known = mine
        _rely(backend, known)


def reembed(backend: Backend, embedder: EmbedderProtocol | None, store: str) -> int:
    """Embed every content again and return how many there were; all vectors change together, or none does."""
    if embedder is None:
        raise VectorInputError(
            f"store {store!r} has no embedder: give one, store.reembed(embedder)"
        )
    if embedder.dimension != backend.dimension:
        raise StoreError(
            f"store {store!r} has dimension {backend.dimension}, got an embedder of {embedder.dimension}: "
            "add its texts to a new store, VectorStore(path=…, embedder=…)"
        )
    entries: dict[str, Entry] = {}
    vectors: list[Any] = []
    while new := [id for id in backend.ids() if id not in entries]:
        for at in range(0, len(new), _PAGE):
            page = [entry for entry in backend.get(new[at : at + _PAGE]) if entry is not None]
            names = [f"store {store!r}: the embedding of {entry.id!r}" for entry in page]
            made = embed_contents([entry.content for entry in page], embedder, names)
            vectors += list(as_matrix(made, backend.dimension, names))
            entries |= {entry.id: entry for entry in page}
        if isinstance(backend, Local):
            _rely(backend, None)
            backend.write_notes(
                _NOTES, dict.fromkeys(Identity._fields)
            )  # until all vectors are the new ones
        known = list(entries.values())
        backend.upsert(
            Batch(
                list(entries),
                np.stack(vectors),
                [entry.metadata for entry in known],
                [entry.content for entry in known],
                [entry.created_at for entry in known],
                [entry.updated_at for entry in known],
            )
        )
    if isinstance(backend, Local):
        mine = Identity.of(embedder, probed=backend.path is not None)
        write(backend, mine)
        _rely(backend, mine)
    return len(entries)


def _rely(backend: Local, identity: Identity | None) -> None:
    """Let a store refuse the changes of others once these record another embedder than `identity`, None for any."""

    def admit(storage: Storage) -> None:
        found = storage.read_notes(_NOTES)
        if identity is not None and (found.get("key"), found.get("probe", "")) != (
            identity.key,
            identity.probe,
        ):
            raise StoreError(
                f"this store was given to the embedder {found.get('name', '')!r} while it was open with {identity}: "
                "set store.embedder to that embedder, or open the store again"
            )

    backend.admit = admit


def read(backend: Local) -> Identity | None:
    """Return the identity that a store has recorded, or None."""
    notes = backend.read_notes(_NOTES)
    return (
        Identity(notes["key"], notes.get("name", ""), notes.get("probe", ""))
        if "key" in notes
        else None
    )


def write(backend: Local, identity: Identity) -> None:
    """Record an identity."""
    backend.write_notes(_NOTES, identity._asdict())


def _agree(backend: Local, embedder: EmbedderProtocol) -> bool | None:
    """Compare stored vectors with an embedder's for the same texts; None if there is no text."""
    ids = backend.ids()
    tried = backend.get(ids[:: max(1, len(ids) // _TRIED)][:_TRIED])
    found = [entry for entry in tried if entry is not None and entry.content][:_COMPARED]
    if not found:
        return None
    names = [f"the embedding of {entry.id!r}" for entry in found]
    made = as_matrix(
        embed_contents([entry.content for entry in found], embedder, names),
        backend.dimension,
        names,
    )
    stored = np.stack([entry.embedding for entry in found])
    return bool(np.median(_near(stored, made)) <= 0)


def _near(stored: Array, made: Array) -> Array:
    """Return by how much each vector is farther from the one that is stored than two of one model are."""
    apart: Array = np.linalg.norm(stored - made, axis=-1) - _SAME * np.linalg.norm(stored, axis=-1)
    return apart


def _probe(embedder: EmbedderProtocol) -> str:
    """Return the vector of a fixed text, or "" where the embedder makes none now."""
    try:
        vector = np.asarray(embed_passages([_PROBE], embedder), np.float64)[0]
    except Exception:  # reported where a text is embedded
        return ""
    return (
        json.dumps([float(f"{value:.4g}") for value in vector]) if np.isfinite(vector).all() else ""
    )
