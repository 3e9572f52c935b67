"""Chunking: split a document into chunks that fit an embedder, each with its exact position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from conduit_lab.core.errors import InputError, MissingExtra
from conduit_lab.vectors.documents.document import Document
from conduit_lab.vectors.documents.markup import Heading

DEFAULT_TOKENS = 256
DEFAULT_CHARACTERS = 1000  # about as much English text as 256 tokens
# Some tokenizers treat an unknown word as one token, even a megabyte of base64.
MAX_CHARACTERS_PER_TOKEN = 16
# Per unit of size, passed to the splitter together: it measures the rest of a line per chunk.
WINDOW_CHARACTERS = 32


@dataclass(frozen=True)
class Chunk:
    """A piece of a document: `document.text[start:end] == text`.

    `line` and `page`, from 1, refer to its start, or are None if the document has none. `heading`
    is the path of headings above it, such as `Refunds > By bank transfer`, or "".
    """

    text: str
    start: int
    end: int
    line: int | None
    page: int | None
    heading: str


class Chunker:
    """Splits documents at the largest units that fit: sections, paragraphs, sentences or words.

    A chunk has at most `size` units from one section; a section without text is merged with the
    next. `length` counts the units of a text, such as the embedder's tokens including special ones;
    by default units are characters. `size` defaults to 256 tokens or 1,000 characters. `overlap` is
    the maximum number of units repeated from the previous chunk. Chunks do not start or end with
    spaces, and only spaces separate them. Raises `InputError` for an invalid size or overlap.
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        overlap: int = 0,
        length: Callable[[str], int] | None = None,
    ) -> None:
        self.size = (DEFAULT_TOKENS if length else DEFAULT_CHARACTERS) if size is None else size
        self.overlap = overlap
        self.length = length
        for name, value, minimum in (("size", self.size, 1), ("overlap", overlap, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
                raise InputError(
                    f"a chunk's {name} is a whole number of at least {minimum}, got {value!r}"
                )
        if overlap >= self.size:
            raise InputError(
                f"an overlap of {overlap} leaves no room in chunks of {self.size}: make it smaller"
            )

    def chunks(self, document: Document) -> list[Chunk]:
        """Return the chunks in text order; a blank text has none."""
        try:
            from semantic_text_splitter import MarkdownSplitter, TextSplitter
        except ImportError:
            raise MissingExtra(
                "semantic-text-splitter", "documents", "cutting documents into chunks"
            ) from None
        kind = MarkdownSplitter if document.kind == "markdown" else TextSplitter
        if self.length is None:
            splitter = kind(self.size, self.overlap)
        else:
            splitter = kind.from_callback(self._count, self.size, self.overlap)
        return [
            self._chunk(document, at, text, heading)
            for start, end, heading in sections(document)
            for at, text in self._pieces(splitter, document.text, start, end)
            if text.strip()  # some control characters are spaces to Python but not to the splitter
        ]

    def fits(self, text: str) -> bool:
        """Return whether a text fits into one chunk."""
        return (len(text) if self.length is None else self._count(text)) <= self.size

    def _pieces(self, splitter: Any, text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
        """Yield the offset and text of each piece between `start` and `end`, in linear time.

        The last piece of a window may continue beyond it, so the next window starts with that
        piece.
        """
        window = width = self.size * WINDOW_CHARACTERS
        while start < end:
            stop = min(start + window, end)
            pieces = [(start + at, piece) for at, piece in splitter.chunk_indices(text[start:stop])]
            if stop == end:
                yield from pieces
                return
            if not pieces:
                start, window = stop, width
            elif pieces[-1][0] == start:  # one piece, or fully overlapping pieces
                window *= 2
            else:
                yield from pieces[:-1]
                start, window = pieces[-1][0], width

    def _count(self, text: str) -> int:
        minimum = len(text) // MAX_CHARACTERS_PER_TOKEN
        if minimum > self.size:  # too long for any tokenizer
            return minimum
        assert self.length is not None
        return max(self.length(text), minimum)

    def _chunk(self, document: Document, start: int, text: str, heading: str) -> Chunk:
        line, page = document.line(start), document.page(start)
        return Chunk(text, start, start + len(text), line, page, heading)


def sections(document: Document) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, path of headings) of each section with its own text, in order."""
    text, headings = document.text, document.headings
    ends = [heading.start for heading in headings] + [len(text)]
    start, path = document.begin, list[Heading]()
    if text[start : ends[0]].strip():
        yield start, ends[0], ""
        start = ends[0]
    for heading, end in zip(headings, ends[1:], strict=True):
        path = [above for above in path if above.level < heading.level] + [heading]
        if text[heading.end : end].strip() or end == len(text):
            yield start, end, " > ".join(above.text for above in path if above.text)
            start = end
