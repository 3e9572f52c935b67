"""Document: the text of one file with its headings, pages and lines."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import display, resolve
from conduit_lab.core.views import figures
from conduit_lab.vectors.documents import pdf
from conduit_lab.vectors.documents.markup import Heading, front_title, html_text, markdown_headings

KINDS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".csv": "table",
    ".tsv": "table",
}
MAX_DOCUMENT_BYTES = 64 * 2**20  # a text is held in memory with its lines and chunks

# Encodings for these labels in the WHATWG encoding standard.
_ENCODINGS = {
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "cp1252",
    "ascii": "cp1252",
    "utf-16": "utf-8",
}
_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset=["']?([\w-]{1,40})""", re.IGNORECASE)


@dataclass(frozen=True)
class Document:
    """The text of one file and its structure; all positions are character offsets in `text`.

    `source` is the file's path as in `core.paths.display`. `kind` is markdown, text, html or pdf.
    `begin` is the end of the front matter. `headings` are in text order. `pages` are the offsets at
    which the pages of a PDF start. `lines` are pairs (offset, line number from 1), in order; for
    HTML the line numbers refer to the file instead of `text`, and a PDF has none. `problem`
    describes how `text` differs from the visible text, or is "".
    """

    source: str
    text: str = field(repr=False)
    kind: str = "text"
    title: str = ""
    begin: int = 0
    headings: tuple[Heading, ...] = field(default=(), repr=False)
    pages: tuple[int, ...] = field(default=(), repr=False)
    lines: tuple[tuple[int, int], ...] = field(default=(), repr=False)
    problem: str = field(default="", repr=False)

    def line(self, at: int) -> int | None:
        """Return the line number, from 1, of the character at `at`."""
        place = bisect_right(self.lines, at, key=lambda line: line[0])
        return self.lines[place - 1][1] if place else None

    def page(self, at: int) -> int | None:
        """Return the page number, from 1, of the character at `at`."""
        return bisect_right(self.pages, at) or None


def read_document(path: str | Path) -> Document:
    """Read a Markdown, text, HTML or PDF file; relative paths start at the project's root.

    The text of Markdown and text files is unchanged, so offsets are valid in the file. Raises
    `InputError` naming the file if it is unreadable, larger than 64 MB, of another kind, broken,
    encrypted or not UTF-8 (HTML: not in its declared encoding), and `MissingExtra` for a PDF
    without pypdfium2.
    """
    path = resolve(path)
    document_kind(path)
    source = source_name(path)
    return parse_document(source, path, read_bytes(path, source))


def parse_document(source: str, path: Path, data: bytes) -> Document:
    """Return the document in the bytes of the file at `path`; raises as `read_document` does."""
    kind = document_kind(path)
    match kind:
        case "pdf":
            return _read_pdf(source, path.stem, data)
        case "html":
            page = html_text(decode(data, source, _declared(data)))
            first = next((heading.text for heading in page.headings), "")
            title = page.title or first or path.stem
            return Document(source, page.text, kind, title, 0, page.headings, (), page.lines)
        case "markdown":
            text = decode(data, source)
            begin, headings = markdown_headings(text)
            first = next((heading.text for heading in headings if heading.level == 1), "")
            title = front_title(text, begin) or first or path.stem
            return Document(source, text, kind, title, begin, headings, (), _lines(text))
        case "text":
            text = decode(data, source)
            return Document(source, text, kind, path.stem, lines=_lines(text))
    raise InputError(f"{source} is a table, not a text: store its rows with add_documents(path)")


def source_name(path: Path) -> str:
    """Return the name under which a store records the file at `path`."""
    return check_name(display(path))


def check_name(source: str) -> str:
    """Return the name of a document; raise `InputError` unless it is UTF-8."""
    try:
        source.encode()
    except UnicodeEncodeError:
        raise InputError(f"the name of {source!r} is not UTF-8: rename the file") from None
    return source


def document_kind(path: Path) -> str:
    """Return the kind of document by its suffix."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{display(path)} is of an unsupported kind: convert it to one of {', '.join(KINDS)}"
        )
    return kind


def read_bytes(path: Path, source: str) -> bytes:
    """Return the bytes of a file, named `source` in errors."""
    try:
        size = path.stat().st_size
        if size > MAX_DOCUMENT_BYTES:
            raise InputError(
                f"{source} has {figures.size(size)}, and a document at most "
                f"{figures.size(MAX_DOCUMENT_BYTES)}: split it"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}") from None


def decode(data: bytes, source: str, encoding: str = "utf-8") -> str:
    """Return `data` as text; a byte order mark overrides `encoding`."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif data.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source} is not {encoding.upper()} at byte {error.start} "
            f"(0x{data[error.start]:02x}): save it as UTF-8"
        ) from None
    except (LookupError, UnicodeError):
        raise InputError(
            f"{source} declares the unknown encoding {encoding!r}: save it as UTF-8"
        ) from None
    if (nul := text.find("\0")) >= 0:
        raise InputError(
            f"{source} is not text, it has a NUL at character {nul}: leave the file out, or save "
            "it as UTF-8"
        )
    return text


def _declared(data: bytes) -> str:
    """Return the encoding declared in a page's head, by default UTF-8."""
    found = _CHARSET.search(data, 0, 4096)
    name = found[1].decode().lower() if found else "utf-8"
    return _ENCODINGS.get(name, name)


def _lines(text: str) -> tuple[tuple[int, int], ...]:
    starts = [0, *(newline.end() for newline in re.finditer(r"\r\n|\r|\n", text))]
    return tuple((start, number) for number, start in enumerate(starts, 1))


def _read_pdf(source: str, stem: str, data: bytes) -> Document:
    result = pdf.read_pages(source, data)
    pages, at = [], 0
    for text in result.texts:
        pages.append(at)
        at += len(text) + 2
    text = "\n\n".join(result.texts)
    title = result.title or stem
    return Document(source, text, "pdf", title, pages=tuple(pages), problem=result.problem)
