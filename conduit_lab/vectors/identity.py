"""Identity of a store's embedder, so a store never mixes the vectors of two models.

The store's file records it in the notes `embedder.key`, `embedder.name` and `embedder.probe`. An
embedder is identified by its `fingerprint`, a text that changes whenever its vectors do; without a
fingerprint, by its class, name and the vector of a fixed text, and if those differ, by its vectors
of some stored texts.
"""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.progress import Progress, progress
from conduit_lab.core.spec import Array, EmbedderProtocol
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.batch import Batch
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.embedding import as_matrix, embed_contents, embed_passages
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.local_backend import LocalBackend

_NOTES = "embedder."
_MAX_READ_ENTRIES, _MAX_COMPARED_TEXTS = 64, 4
# Distance of equal vectors, relative to the stored one's length; float16 stays below 0.001.
_TOLERANCE = 0.1
_PAGE_ENTRIES = 256
_PROBE_TEXT = "Which embedder made this vector?"
_SHOWN_CHARACTERS = 12  # of a fingerprint, in errors

_log = logging.getLogger("conduit_lab")


class EmbedderIdentity(NamedTuple):
    """The `key` of an embedder and, without a fingerprint, its `probe`; `name` is for messages."""

    key: str
    name: str
    probe: str = ""

    @classmethod
    def of(cls, embedder: EmbedderProtocol, *, probed: bool) -> EmbedderIdentity:
        """Return the identity of an embedder; `probed` embeds the probe if needed."""
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
        """Whether the key is a fingerprint, so another key certainly means another embedder."""
        return self.key.startswith("content ")

    def equals(self, other: EmbedderIdentity) -> bool:
        """Return whether both are the same embedder, by their probes if both have one."""
        if self.key != other.key or not (self.probe and other.probe):
            return self.key == other.key
        mine, theirs = np.array(json.loads(self.probe)), np.array(json.loads(other.probe))
        return mine.shape == theirs.shape and bool(_excess(mine, theirs) <= 0)

    def __str__(self) -> str:
        length = len("content ") + _SHOWN_CHARACTERS
        return f"{self.name!r} ({self.key[:length] if self.certain else self.key})"


def verify(
    backend: Backend, embedder: EmbedderProtocol | None, store: str, again: bool = False
) -> None:
    """Record the `embedder` of a store without one; check it against the recorded one.

    Raises `StoreError` if another embedder made the vectors. Warns if no embedder is recorded and
    `embedder` produces different vectors for the stored texts. `again` re-embeds the texts in both
    cases.
    """
    if not isinstance(backend, LocalBackend):
        return
    _rely(backend, None)
    if embedder is None:
        return
    # No probe for a store in memory, whose embedder rarely changes.
    mine, known = (
        EmbedderIdentity.of(embedder, probed=backend.path is not None),
        read_identity(backend),
    )
    same = known is not None and known.equals(mine)
    if backend.count() and not same:
        certain = known is not None and known.certain and mine.certain
        agree = None if certain else _agree(backend, embedder)
        wrong = agree is False or (known is not None and not agree)
        if wrong and again:
            reembed(backend, embedder, store)
            return
        if wrong and known is not None:
            raise StoreError(
                f"store {store!r} has the vectors of the embedder {known}, got {mine}, whose "
                "vectors differ: open it with the first one, or embed its texts again with "
                "VectorStore(path=…, embedder=…, reembed=True), or store.reembed(embedder) "
                "without one"
            )
        if wrong:
            warnings.warn(
                f"store {store!r} has vectors that the embedder {mine.name!r} does not make of "
                "their texts: if another embedder made them, embed the texts again with "
                "store.reembed()",
                stacklevel=3,
            )
            return
        if known is not None and known.certain:
            _rely(backend, known)
            return
    with suppress(StoreError):  # a read-only file
        if known is None or not same or (mine.probe and not known.probe):
            write_identity(backend, mine)
            known = mine
        _rely(backend, known)


def reembed(backend: Backend, embedder: EmbedderProtocol | None, store: str) -> int:
    """Embed all contents again, atomically; return the number of entries."""
    if embedder is None:
        raise VectorInputError(
            f"store {store!r} has no embedder: give one, store.reembed(embedder)"
        )
    if embedder.dimension != backend.dimension:
        raise StoreError(
            f"store {store!r} has dimension {backend.dimension}, got an embedder of "
            f"{embedder.dimension}: add its texts to a new store, VectorStore(path=…, embedder=…)"
        )
    with progress(backend.count(), "text", f"{store}.reembed") as job:
        return _reembed(backend, embedder, store, job)


def _reembed(backend: Backend, embedder: EmbedderProtocol, store: str, job: Progress) -> int:
    entries: dict[str, Entry] = {}
    vectors: list[Any] = []
    while new := [id for id in backend.ids() if id not in entries]:
        for at in range(0, len(new), _PAGE_ENTRIES):
            read = backend.get(new[at : at + _PAGE_ENTRIES])
            page = [entry for entry in read if entry is not None]
            names = [f"store {store!r}: the embedding of {entry.id!r}" for entry in page]
            made = embed_contents([entry.content for entry in page], embedder, names)
            vectors += list(as_matrix(made, backend.dimension, names))
            job.step(len(page))
            entries |= {entry.id: entry for entry in page}
        if isinstance(backend, LocalBackend):
            _rely(backend, None)
            # Remove the identity until all vectors are new.
            backend.write_notes(_NOTES, dict.fromkeys(EmbedderIdentity._fields))
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
    if isinstance(backend, LocalBackend):
        mine = EmbedderIdentity.of(embedder, probed=backend.path is not None)
        write_identity(backend, mine)
        _rely(backend, mine)
    return len(entries)


def _rely(backend: LocalBackend, identity: EmbedderIdentity | None) -> None:
    """Reject changes by other processes once they record an embedder other than `identity`.

    None accepts any.
    """

    def admit(storage: Storage) -> None:
        found = storage.read_notes(_NOTES)
        recorded = found.get("key"), found.get("probe", "")
        if identity is not None and recorded != (identity.key, identity.probe):
            raise StoreError(
                f"this store was given to the embedder {found.get('name', '')!r} while it was open "
                f"with {identity}: set store.embedder to that embedder, or open the store again"
            )

    backend.admit = admit


def read_identity(backend: LocalBackend) -> EmbedderIdentity | None:
    """Return the recorded identity of a store, or None."""
    notes = backend.read_notes(_NOTES)
    if "key" not in notes:
        return None
    return EmbedderIdentity(notes["key"], notes.get("name", ""), notes.get("probe", ""))


def record_embedder(backend: Backend, embedder: EmbedderProtocol) -> None:
    """Record an embedder whose vectors are close enough, and keep the stored vectors."""
    if isinstance(backend, LocalBackend):
        write_identity(backend, EmbedderIdentity.of(embedder, probed=backend.path is not None))


def write_identity(backend: LocalBackend, identity: EmbedderIdentity) -> None:
    """Record an identity."""
    backend.write_notes(_NOTES, identity._asdict())


def _agree(backend: LocalBackend, embedder: EmbedderProtocol) -> bool | None:
    """Return whether an embedder reproduces the vectors of stored texts; None without texts."""
    ids = backend.ids()
    sample = ids[:: max(1, len(ids) // _MAX_READ_ENTRIES)][:_MAX_READ_ENTRIES]
    with_text = [entry for entry in backend.get(sample) if entry is not None and entry.content]
    found = with_text[:_MAX_COMPARED_TEXTS]
    if not found:
        return None
    names = [f"the embedding of {entry.id!r}" for entry in found]
    made = as_matrix(
        embed_contents([entry.content for entry in found], embedder, names),
        backend.dimension,
        names,
    )
    stored = np.stack([entry.embedding for entry in found])
    return bool(np.median(_excess(stored, made)) <= 0)


def _excess(stored: Array, made: Array) -> Array:
    """Return by how much the distance of each pair of vectors exceeds the tolerance."""
    allowed = _TOLERANCE * np.linalg.norm(stored, axis=-1)
    excess: Array = np.linalg.norm(stored - made, axis=-1) - allowed
    return excess


def _probe(embedder: EmbedderProtocol) -> str:
    """Return the vector of a fixed text as JSON, or "" if the embedder fails."""
    try:
        vector = np.asarray(embed_passages([_PROBE_TEXT], embedder), np.float64)[0]
    except Exception:
        _log.warning("the embedder failed on the text that identifies it", exc_info=True)
        return ""
    if not np.isfinite(vector).all():
        return ""
    return json.dumps([float(f"{value:.4g}") for value in vector])
