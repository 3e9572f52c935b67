"""ShownChunks: the display of a stream's chunks, in a shape chosen by the first chunk."""

from __future__ import annotations

import threading
from typing import Any

from conduit_lab.core.streams.log import Log
from conduit_lab.core.streams.shapes.chunk_shape import (
    ChunkShape,
    ShapeName,
    cut_note,
    dropped_note,
)
from conduit_lab.core.streams.shapes.film import Film
from conduit_lab.core.streams.shapes.number_line import NumberLine
from conduit_lab.core.streams.shapes.record_table import RecordTable
from conduit_lab.core.streams.shapes.sound_wave import SoundWave
from conduit_lab.core.views.pieces import ViewPiece

CHUNK_SHAPES: tuple[type[ChunkShape], ...] = (
    NumberLine,
    Film,
    SoundWave,
    RecordTable,
)  # the first one that accepts the chunk wins


class ShownChunks:
    """Adds a stream's chunks to the shape of the first one; thread-safe.

    Chunks of another kind turn the display into text permanently. A live view updates it
    continuously, so it also covers chunks that the log has since dropped; otherwise it covers only
    the retained chunks. `missed` counts the chunks dropped before an update.
    """

    def __init__(self, log: Log[Any]) -> None:
        self.lock = threading.RLock()  # guards updates and reads of the shape
        self.shape: ChunkShape | None = None  # None before the first chunk, and for text
        self.missed = 0
        self._log = log
        self._next = 0
        self._text = False

    @property
    def name(self) -> ShapeName | None:
        """The name of the shape; None before the first chunk."""
        if self._text:
            return "text"
        return None if self.shape is None else self.shape.name

    def update(self, limit: int | None = None) -> None:
        """Add the chunks since the last update, at most `limit` of them."""
        with self.lock:
            base, kept = self._log.window
            place = max(self._next - base, 0)
            chunks = [] if self._text else kept[place : None if limit is None else place + limit]
            if not chunks:
                return
            if self.shape is None:
                found = next((kind for kind in CHUNK_SHAPES if kind.takes(chunks[0])), None)
                self.shape = None if found is None else found()
            if self.shape is None or not all(map(self.shape.takes, chunks)):
                self.shape, self._text = None, True
                return
            self.missed += max(base - self._next, 0)
            self.shape.add(chunks, base + place)
            self._next = base + place + len(chunks)

    def notes(self, characters: int = 0) -> list[str]:
        """Return notes on the parts that a view omits from a text with `characters`."""
        base, _ = self._log.window
        missed = self.missed if self.shape is not None else base
        cut = "" if self.shape is not None else cut_note(characters)
        return [note for note in (dropped_note(missed, self._log.keep), cut) if note]

    def pieces(self) -> list[ViewPiece]:
        """Return the pieces of the static view; none for text."""
        with self.lock:
            return [] if self.shape is None else self.shape.pieces()
