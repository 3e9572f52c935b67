"""ChunkShape: summarize chunks of one kind in bounded memory for a view."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import ViewPiece

SHOWN_CHARACTERS = 20_000  # of the static view of a text
ShapeName = Literal["text", "numbers", "records", "pictures", "sounds"]


class ChunkShape(ABC):
    """The display of chunks of one kind; each is added once, in order.

    Only one thread at a time may add chunks or read the shape: `ShownChunks` holds a lock for both.
    """

    name: ClassVar[ShapeName]

    @staticmethod
    @abstractmethod
    def takes(chunk: Any) -> bool:
        """Return whether this shape can show `chunk`; nothing is encoded for this."""

    @abstractmethod
    def add(self, chunks: Sequence[Any], start: int) -> None:
        """Add chunks that `takes` accepts; `start` is the index of the first one."""

    @abstractmethod
    def pieces(self) -> list[ViewPiece]:
        """Return the pieces of the static view."""


def dropped_note(missed: int, keep: int) -> str:
    """Return a sentence about the first `missed` chunks, dropped by a log of `keep` bytes."""
    if not missed:
        return ""
    first = "first chunk is" if missed == 1 else f"first {figures.plural(missed, 'chunk')} are"
    return (
        f"The {first} no longer available: the stream keeps its newest {figures.size(keep)}. "
        f"Keep more with Stream(…, keep=2**{(16 * keep).bit_length() - 1}), or read them as they "
        "arrive with for chunk in stream."
    )


def cut_note(characters: int) -> str:
    """Return a sentence about a text of this many characters, if a view omits part of it."""
    if characters <= SHOWN_CHARACTERS:
        return ""
    return f"Part is not shown; all {figures.count(characters)} characters are in stream.text."
