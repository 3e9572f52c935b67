"""Document reader: the texts and metadata of a file's entries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import EmbedderProtocol
from conduit_lab.core.views import figures
from conduit_lab.vectors.documents.chunking import DEFAULT_TOKENS, Chunk, Chunker
from conduit_lab.vectors.documents.document import Document, document_kind, parse_document
from conduit_lab.vectors.documents.records import json_digest
from conduit_lab.vectors.documents.sheet import Sheet, parse_csv
from conduit_lab.vectors.documents.sources import Source
from conduit_lab.vectors.embedding import passage_length
from conduit_lab.vectors.entry import check_metadata

_READER = 1  # increase it when the same file yields other entries
_PACKAGES = ("semantic-text-splitter", "pypdfium2")  # their versions also affect entries
# Tokenizers that agree on the lengths of all of these are treated as equal.
_PROBES = (
    "",
    "The kettle is descaled with citric acid.",
    "naïve Größe 你好 😀",
    "def f(x): return x**2  # 1,024.5",
    "a" * 99,
)

Piece = tuple[str, dict[str, Any]]


class DocumentReader:
    """Converts files to entries: chunks for an embedder, or rows with text in columns `text`."""

    def __init__(
        self,
        embedder: EmbedderProtocol,
        size: int | None,
        overlap: int,
        text: str | Sequence[str] | None,
    ) -> None:
        self.chunker, self.text = chunker_for(embedder, size, overlap), text
        length = self.chunker.length
        tokens = None if length is None else [length(probe) for probe in _PROBES]
        columns = text if text is None or isinstance(text, str) else list(text)
        limits = self.chunker.size, self.chunker.overlap
        self._settings = [_READER, _versions(), *limits, tokens, columns]

    def settings(self, file: Source) -> str:
        """Return a hash of everything other than its bytes that affects a file's entries."""
        return json_digest([*self._settings, file.name, file.section, file.path.name])

    def pieces(self, file: Source, data: bytes) -> tuple[list[Piece], str]:
        """Return the text and metadata of each entry, and a problem with the text, or ""."""
        if document_kind(file.path) == "table":
            sheet = parse_csv(file.name, data, self.text)
            pieces, problem = self.rows(sheet, file.section), sheet.problem
        else:
            document = parse_document(file.name, file.path, data)
            chunks = self.chunker.chunks(document)
            pieces = [_piece(document, chunk, file.section) for chunk in chunks]
            problem = document.problem
        return pieces, problem or ("" if pieces else "has no text")

    def rows(self, sheet: Sheet, section: str | None) -> list[Piece]:
        """Return text and metadata of each row with text; long texts are chunked."""
        own = {"source": sheet.source} | ({} if section is None else {"section": section})
        pieces: list[Piece] = []
        rows = zip(sheet.texts, sheet.metadatas, strict=True)
        for number, (text, metadata) in enumerate(rows, 1):
            if not text.strip():
                continue
            fields = {**own, "row": number, **metadata}
            plain = check_metadata(fields, f"{sheet.source} row {number}")
            if self.chunker.fits(text):
                pieces.append((text, plain))
                continue
            for chunk in self.chunker.chunks(Document(sheet.source, text)):
                taken = {"start", "end"} & plain.keys()
                place = {} if taken else {"start": chunk.start, "end": chunk.end}
                pieces.append((chunk.text, plain | place))
        return pieces


def chunker_for(embedder: EmbedderProtocol, size: int | None, overlap: int) -> Chunker:
    """Return a chunker that counts the embedder's tokens, or characters if it cannot count them."""
    length, limit = passage_length(embedder), getattr(embedder, "max_length", None)
    if length is not None and limit is not None:
        size = min(DEFAULT_TOKENS, limit) if size is None else size
        if isinstance(size, int) and size > limit:
            raise InputError(
                f"expected chunks of at most {figures.plural(limit, 'token')}, the embedder's "
                f"limit, got {size}: pass a smaller size"
            )
    chunker = Chunker(size, overlap=overlap, length=length)
    if length is not None and (own := length("")) >= chunker.size:
        raise InputError(
            f"chunks of {figures.plural(chunker.size, 'token')} have no room for a text, the "
            f"embedder adds {own} of its own to each: pass a larger size"
        )
    return chunker


def _piece(document: Document, chunk: Chunk, section: str | None) -> Piece:
    """Return the text and the metadata of a chunk's entry."""
    metadata = {
        "source": document.source,
        "section": section,
        "title": document.title,
        "heading": chunk.heading or None,
        "page": chunk.page,
        "line": chunk.line,
        "start": chunk.start,
        "end": chunk.end,
    }
    return chunk.text, {key: value for key, value in metadata.items() if value is not None}


@cache
def _versions() -> list[str | None]:
    """Return the versions of `_PACKAGES`, None for a missing package."""
    found: list[str | None] = []
    for name in _PACKAGES:
        try:
            found.append(version(name))
        except PackageNotFoundError:
            found.append(None)
    return found
