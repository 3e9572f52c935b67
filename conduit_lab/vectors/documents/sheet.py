"""Sheet: a table whose every row is an entry, from a CSV file or a DataFrame."""

from __future__ import annotations

import csv
import io
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import resolve
from conduit_lab.vectors.documents.document import MAX_BYTES, decode, read_bytes, source_of
from conduit_lab.vectors.table import plain

TEXT_COLUMNS = ("text", "content")  # where no column is named
INDEX = "index"  # the name of a first column without one
RESERVED = ("source", "section", "row")  # what add_documents itself says of a row
DELIMITERS = (",", ";", "\t", "|")

_NOTHING = "\x1f"  # parts the cells of a table that has one column
_SEPARATOR = re.compile(r"sep=([^\w\"\r\n])\r?\n", re.IGNORECASE)  # Excel's first line

Dialect = dict[str, Any]

# A number as a table writes it: `007` is a name and stays text, and so does what float64 would
# round.
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?")
_COMMA_NUMBER = re.compile(
    r"-?(?:0|[1-9][0-9]{0,14}|[1-9][0-9]{0,2}(?:\.[0-9]{3}){1,4})(?:,[0-9]+)?"
)

_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


@dataclass(frozen=True)
class Sheet:
    """The rows of a table: one text each, and the other columns as its metadata, empty cells left
    out.

    `problem` says what may be wrong with the texts, or "".
    """

    source: str
    texts: list[str] = field(repr=False)
    metadatas: list[dict[str, Any]] = field(repr=False)
    problem: str = field(default="", repr=False)


def read_csv(path: str | Path, text: str | Sequence[str] | None = None) -> Sheet:
    """Read a CSV file whose first row names the columns; commas, semicolons, tabs or bars part the
    cells.

    `text` names the column that becomes the text, or several, joined by line breaks; by default it
    is "text" or "content". A column that holds only numbers becomes numbers, also with decimal
    commas between semicolons. A first column without a name is an index, which is left out where it
    only counts. The encoding is UTF-8, UTF-16 with its mark, or else Windows-1252, which `problem`
    says. Raises `InputError` naming the file and the line.
    """
    path = resolve(path)
    source = source_of(path)
    return parse_csv(source, read_bytes(path, source), text)


def parse_csv(source: str, data: bytes, text: str | Sequence[str] | None = None) -> Sheet:
    """Return the rows in the bytes `data` of a CSV file; raises as `read_csv` does."""
    content, problem = _decode(data, source)
    named = _SEPARATOR.match(content)
    content = content[named.end() if named else 0 :]
    delimiter = (
        named[1] if named else _delimiter(content, [text] if isinstance(text, str) else text)
    )
    rows = _rows(source, content, delimiter, before=1 if named else 0)
    columns = [[row[at] for row in rows[1:]] for at in range(len(rows[0]))] if rows else []
    names = [name.strip() for name in rows[0]] if rows else []
    for at in (0, -1):
        if names and not names[at]:
            index = at == 0 and _is_index(columns[0])
            if index or not any(
                columns[at]
            ):  # a delimiter at the end of each line has nothing behind it
                del names[at], columns[at]
            elif at == 0:
                names[0] = INDEX
    _check_names(source, names)
    return _sheet(
        source, names, [_typed(cells, delimiter == ";") for cells in columns], text, problem
    )


def read_frame(frame: Any, source: str, text: str | Sequence[str] | None = None) -> Sheet:
    """Return the rows of a table (pandas, polars, Arrow) by the rules of `read_csv`; dates become ISO text."""
    arrow = hasattr(frame, "to_pydict")
    names = list(frame.column_names if arrow else frame.columns)
    _check_names(source, [str(name) for name in names])
    cells = frame.to_pydict() if arrow else {name: frame[name].to_list() for name in names}
    return _sheet(
        source,
        [str(name) for name in names],
        [list(map(plain, cells[name])) for name in names],
        text,
    )


def _decode(data: bytes, source: str) -> tuple[str, str]:
    """Return the text of a CSV file, and what there is to say of its encoding, or ""."""
    try:
        return decode(data, source), ""
    except InputError as error:
        with suppress(InputError):
            if (
                not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"))
                and b"\0" not in data
            ):
                problem = "is not UTF-8 and was read as Windows-1252: save it as UTF-8 if its letters are wrong"
                return decode(data, source, "cp1252"), problem
        raise error


def _delimiter(content: str, text: Sequence[str] | None) -> str:
    """Return what parts the cells of the first row so that it names the columns for the text, else into the most."""
    best, score = _NOTHING, (False, 1)
    for delimiter in DELIMITERS:
        with _long_cells():
            first = next(
                filter(None, csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)), []
            )
        names = [name.strip() for name in first]
        there = all(name in names for name in text) if text else _text_column(names) is not None
        if len(names) > 1 and (there, len(names)) > score:
            best, score = delimiter, (there, len(names))
    return best


def _rows(source: str, content: str, delimiter: str, before: int) -> list[list[str]]:
    """Return the rows that have cells, all of one length; raise `InputError` naming the first wrong
    line.

    `before` is the number of lines before `content`.
    """
    wrong: InputError | None = None
    for dialect in _dialects(content, delimiter):
        reader = csv.reader(
            io.StringIO(content, newline=""), delimiter=delimiter, strict=True, **dialect
        )
        try:
            with _long_cells():
                lines = [(reader.line_num + before, row) for row in reader if row]
            return _even(source, lines)
        except csv.Error as error:
            wrong = wrong or InputError(
                f"{source} line {reader.line_num + before} is not CSV: {error}"
            )
        except InputError as error:
            wrong = wrong or error
    assert wrong is not None
    raise wrong


def _dialects(content: str, delimiter: str) -> Iterator[Dialect]:
    """Yield how quotes may be meant, the most usual first."""
    yield {}
    yield {"skipinitialspace": True}
    if '\\"' in content:
        yield {"escapechar": "\\", "doublequote": False}
    if delimiter == "\t":
        yield {"quoting": csv.QUOTE_NONE}


def _even(source: str, lines: list[tuple[int, list[str]]]) -> list[list[str]]:
    """Return rows of one length; each may end in more empty cells, and all but the first begin with a count."""
    rows = [row for _, row in lines]
    longer = [row for row in rows[1:] if len(row) == len(rows[0]) + 1]
    if len(longer) == len(rows) - 1 > 1 and _is_index([row[0] for row in longer]):
        rows[0].insert(0, "")  # as R writes it
    for line, row in lines:
        while len(row) > len(rows[0]) and not row[-1]:
            del row[-1]
        if len(row) != len(rows[0]):
            raise InputError(
                f"{source} line {line} has {len(row)} cells, its first row {len(rows[0])}"
            )
    return rows


def _is_index(cells: Sequence[str]) -> bool:
    """Return whether a column only counts its rows, from 0 or 1."""
    return any(
        list(cells) == [str(number) for number in range(first, first + len(cells))]
        for first in (0, 1)
    )


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let a cell be as long as a document; the module csv has one limit for all who use it."""
    with _lock:
        before = csv.field_size_limit(MAX_BYTES)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _check_names(source: str, names: Sequence[str]) -> None:
    for name in names:
        if not name or names.count(name) > 1 or name in RESERVED:
            wrong = (
                "of an entry's own"
                if name in RESERVED
                else "that another has"
                if name
                else "that is empty"
            )
            raise InputError(f"{source} has a column with a name {wrong}, {name!r}: rename it")


def _sheet(
    source: str,
    names: list[str],
    columns: list[list[Any]],
    text: str | Sequence[str] | None,
    problem: str = "",
) -> Sheet:
    if text is None:
        found = _text_column(names)
        wanted = [] if found is None else [found]
    else:
        wanted = [text] if isinstance(text, str) else list(text)
    missing = [name for name in wanted if name not in names]
    if missing or (not wanted and names):
        asked = (
            f"no column {missing[0]!r}"
            if missing
            else f"no column {' or '.join(map(repr, TEXT_COLUMNS))}"
        )
        there = f"its columns are {', '.join(names) or 'none'}"
        raise InputError(f"{source} has {asked} to take the text from: pass text=; {there}")
    by_name = dict(zip(names, columns, strict=True))
    count = len(columns[0]) if columns else 0
    cells = [[by_name[name][at] for name in wanted] for at in range(count)]
    texts = ["\n".join(str(cell) for cell in row if cell is not None) for row in cells]
    others = [(name, column) for name, column in by_name.items() if name not in wanted]
    metadatas = [
        {name: column[at] for name, column in others if column[at] is not None}
        for at in range(count)
    ]
    return Sheet(source, texts, metadatas, problem)


def _text_column(names: Sequence[str]) -> str | None:
    """Return the column that has the text where none is named, in small letters or not."""
    return next((name for wanted in TEXT_COLUMNS for name in names if name.lower() == wanted), None)


def _typed(cells: list[str], decimal_comma: bool) -> list[Any]:
    """Return a column as whole numbers, numbers or text, None for an empty cell."""
    filled = [cell for cell in cells if cell]
    kinds: list[tuple[re.Pattern[str], Callable[[str], Any]]] = [(_WHOLE, int), (_NUMBER, float)]
    if decimal_comma and any("," in cell for cell in filled):
        kinds = [(_COMMA_NUMBER, lambda cell: float(cell.replace(".", "").replace(",", ".")))]
    for pattern, kind in kinds:
        if filled and all(map(pattern.fullmatch, filled)):
            return [kind(cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]
