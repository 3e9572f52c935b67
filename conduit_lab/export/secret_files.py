"""Secret files: check that no file of an export contains a secret."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from conduit_lab.core.errors import ExportError
from conduit_lab.export.secret import known_secrets, place_in_piece, place_of_secret

_MAX_BYTES = 2**24  # of a text that is read as a whole, and thus parsed
_PIECE_BYTES = 2**22
_SHARED_BYTES = 2**16  # longer than any key, and a multiple of an array letter's size
_PIECE_CHARACTERS = 2**20
_HEAD_BYTES = 4096
_SQLITE = b"SQLite format 3\0"
_WIDE_LETTER = re.compile(rb"([\x01-\x7f])\0\0\0")  # a letter of a string array
_TEXTS = re.compile(rb"[<>|=][US]\d")  # a string dtype in an array's header


def check_files(folder: Path) -> None:
    """Raise `ExportError` if a text file below `folder` contains a secret.

    Files are recognized as text by content. The message does not show the secret.
    """
    known = known_secrets(os.environ)
    for path in sorted(folder.rglob("*")):
        where = _place_in_file(path, known) if path.is_file() else None
        if where is not None:
            raise ExportError(
                f"{path.relative_to(folder).as_posix()}, {where}: this looks like a secret, "
                'and would be written into the export; read it with os.environ["NAME"] '
                "inside the function, and leave it out of recorded calls"
            )


def _place_in_file(path: Path, known: Sequence[str]) -> str | None:
    """Return where a file contains a secret; None if it does not, or is not text."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if head.startswith(_SQLITE):
            return _place_in_database(path, known)
        if b"\0" in head and not head.startswith(b"\x93NUMPY"):
            return None  # such as a model or an archive
        to_text = _array_text if b"\0" in head else _plain_text
        if path.stat().st_size > _MAX_BYTES:
            if to_text is _array_text and not _TEXTS.search(head):
                return None  # a numeric array
            return _place_in_large(path, known, to_text)
        content = head + file.read()
    return place_of_secret(to_text(content), path.suffix, known)


def _place_in_large(
    path: Path, known: Sequence[str], to_text: Callable[[bytes], str]
) -> str | None:
    """Return where a large file contains a secret, or None; reads it in chunks.

    Chunks overlap, in case a secret crosses their boundary.
    """
    piece, line = b"", 1
    with path.open("rb") as file:
        while content := file.read(_PIECE_BYTES):
            piece += content
            found = place_in_piece(to_text(piece), path.suffix, known, line)
            if found is not None:
                return found
            line += piece.count(b"\n", 0, -_SHARED_BYTES)
            piece = piece[-_SHARED_BYTES:]
    return None


def _plain_text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _array_text(content: bytes) -> str:
    """Decode the text in the bytes of a string array, which stores four bytes per letter."""
    letters = _WIDE_LETTER.sub(rb"\1", content).replace(b"\0", b" ")
    return letters.decode("utf-8", "ignore")


def _place_in_database(path: Path, known: Sequence[str]) -> str | None:
    """Return the table of a store that contains a secret, or None; reads its texts in chunks."""
    url = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    with suppress(sqlite3.Error), closing(sqlite3.connect(url, uri=True)) as database:
        tables = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        )
        for (name,) in tables.fetchall():
            for piece in _pieces(_texts_of_table(database, name)):
                if place_of_secret(piece, path.suffix, known) is not None:
                    return f"table {name}"
    return None


def _texts_of_table(database: sqlite3.Connection, name: str) -> Iterator[str]:
    """Yield the texts of a table, except vectors and the full-text index."""
    described = database.execute("SELECT name, type FROM pragma_table_info(?)", [name])
    columns = [f'"{column}"' for column, kind in described if kind in ("TEXT", "ANY", "")]
    if columns:
        rows = database.execute(f'SELECT {", ".join(columns)} FROM "{name}"')
        yield from (value for row in rows for value in row if isinstance(value, str))


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """Join texts into chunks of about a megabyte; memory is bounded by the longest text."""
    piece: list[str] = []
    size = 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if size >= _PIECE_CHARACTERS:
            yield "\n".join(piece)
            piece, size = [], 0
    yield "\n".join(piece)
