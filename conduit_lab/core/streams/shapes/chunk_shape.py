"""ChunkShape: the chunks of one kind, summarized in bounded memory for a view."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import ViewPiece

SHOWN_CHARACTERS = 20_000  # of a text's static form
ShapeName = Literal["text", "numbers", "records", "pictures", "sounds"]


class ChunkShape(ABC):
    """The chunks of one kind as they are shown; each is added once, in order.

    One thread at a time adds chunks or reads the shape: `ShownChunks` holds a lock for both.
    """

    name: ClassVar[ShapeName]

    @staticmethod
    @abstractmethod
    def takes(chunk: Any) -> bool:
        """Return whether this shape shows `chunk`; nothing is encoded for it."""

    @abstractmethod
    def add(self, chunks: Sequence[Any], start: int) -> None:
        """Add chunks that `takes` accepts; `start` is the number of the first one."""

    @abstractmethod
    def pieces(self) -> list[ViewPiece]:
        """Return the pieces of the static form."""


def dropped_note(missed: int, keep: int) -> str:
    """Return the sentence about the first `missed` chunks, which a log of `keep` bytes dropped."""
    if not missed:
        return ""
    first = "first chunk is" if missed == 1 else f"first {figures.plural(missed, 'chunk')} are"
    return (
        f"The {first} no longer kept: the stream keeps its newest {figures.size(keep)}. "
        f"Keep more with Stream(…, keep=2**{(16 * keep).bit_length() - 1}), or read them as they "
        "come with for chunk in stream."
    )


def cut_note(characters: int) -> str:
    """Return the sentence about a text of this many characters, if a view leaves a part out."""
    if characters <= SHOWN_CHARACTERS:
        return ""
    return (
        f"A part is left out here; all {figures.count(characters)} characters are in stream.text."
    )
