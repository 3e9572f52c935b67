"""Reader: a file becomes the texts and the metadata of its entries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import EmbedderProtocol
from conduit_lab.vectors.documents.chunking import TOKENS, Chunk, Chunker
from conduit_lab.vectors.documents.document import Document, kind_of, parse
from conduit_lab.vectors.documents.records import digest
from conduit_lab.vectors.documents.sheet import Sheet, parse_csv
from conduit_lab.vectors.documents.sources import Source
from conduit_lab.vectors.embedding import passage_length
from conduit_lab.vectors.entry import check_metadata

_READER = 1  # raise it when the same file gives other entries
_PACKAGES = ("semantic-text-splitter", "pypdfium2")  # which cut and read files too
# Two tokenizers that count all of these alike are taken for one.
_PROBES = (
    "",
    "The kettle is descaled with citric acid.",
    "naïve Größe 你好 😀",
    "def f(x): return x**2  # 1,024.5",
    "a" * 99,
)

Piece = tuple[str, dict[str, Any]]


class Reader:
    """How files become entries, with chunks for an embedder and the columns `text` of tables."""

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
        self._settings = [
            _READER,
            _versions(),
            self.chunker.size,
            self.chunker.overlap,
            tokens,
            columns,
        ]

    def settings(self, file: Source) -> str:
        """Return a hash of all that a file's entries depend on, besides its bytes."""
        return digest([*self._settings, file.name, file.section, file.path.name])

    def pieces(self, file: Source, data: bytes) -> tuple[list[Piece], str]:
        """Return the text and metadata of each entry, and the problem of the text, or ""."""
        if kind_of(file.path) == "table":
            sheet = parse_csv(file.name, data, self.text)
            pieces, problem = self.rows(sheet, file.section), sheet.problem
        else:
            document = parse(file.name, file.path, data)
            pieces = [
                _piece(document, chunk, file.section) for chunk in self.chunker.chunks(document)
            ]
            problem = document.problem
        return pieces, problem or ("" if pieces else "has no text")

    def rows(self, sheet: Sheet, section: str | None) -> list[Piece]:
        """Return the text and the metadata of each row that has a text; a long one is cut into several."""
        own = {"source": sheet.source} | ({} if section is None else {"section": section})
        pieces: list[Piece] = []
        for number, (text, metadata) in enumerate(
            zip(sheet.texts, sheet.metadatas, strict=True), 1
        ):
            if not text.strip():
                continue
            plain = check_metadata(
                {**own, "row": number, **metadata}, f"{sheet.source} row {number}"
            )
            if self.chunker.fits(text):
                pieces.append((text, plain))
                continue
            for chunk in self.chunker.chunks(Document(sheet.source, text)):
                place = (
                    {}
                    if {"start", "end"} & plain.keys()
                    else {"start": chunk.start, "end": chunk.end}
                )
                pieces.append((chunk.text, plain | place))
        return pieces


def chunker_for(embedder: EmbedderProtocol, size: int | None, overlap: int) -> Chunker:
    """Return a chunker that counts the embedder's tokens, or characters if it does not count them."""
    length, most = passage_length(embedder), getattr(embedder, "max_length", None)
    if length is not None and most is not None:
        size = min(TOKENS, most) if size is None else size
        if isinstance(size, int) and size > most:
            raise InputError(
                f"chunks of {size} tokens are more than the {most} that the embedder reads: make them smaller"
            )
    chunker = Chunker(size, overlap=overlap, length=length)
    if length is not None and (own := length("")) >= chunker.size:
        raise InputError(
            f"chunks of {chunker.size} tokens have no room for a text, the embedder adds {own} of its own to each: "
            "make them larger"
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
    """Return the versions of the packages that read and cut, None for one that is not installed."""
    found: list[str | None] = []
    for name in _PACKAGES:
        try:
            found.append(version(name))
        except PackageNotFoundError:
            found.append(None)
    return found
