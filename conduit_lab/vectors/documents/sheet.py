"""Sheet: the rows of a CSV file or DataFrame, one entry per row."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.forking import hold_at_fork
from conduit_lab.core.paths import resolve
from conduit_lab.core.views import figures
from conduit_lab.vectors.documents.document import (
    MAX_DOCUMENT_BYTES,
    decode,
    read_bytes,
    source_name,
)
from conduit_lab.vectors.table import plain_cell

TEXT_COLUMNS = ("text", "content")  # the default
INDEX = "index"  # the name for an unnamed first column
RESERVED = ("source", "section", "row")  # metadata added by add_documents
DELIMITERS = (",", ";", "\t", "|")

_NO_DELIMITER = "\x1f"  # for a table with one column
_SEPARATOR = re.compile(r"sep=([^\w\"\r\n])\r?\n", re.IGNORECASE)  # Excel's first line

_Dialect = dict[str, Any]

# Numbers in a table: `007` is a name and stays text, as do numbers that float64 would round.
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?")
_COMMA_NUMBER = re.compile(
    r"-?(?:0|[1-9][0-9]{0,14}|[1-9][0-9]{0,2}(?:\.[0-9]{3}){1,4})(?:,[0-9]+)?"
)

_lock = threading.Lock()
hold_at_fork(_lock)


@dataclass(frozen=True)
class Sheet:
    """The rows of a table, each with a text, and the non-empty cells of other columns as metadata.

    `problem` describes possible errors in the texts, or is "".
    """

    source: str
    texts: list[str] = field(repr=False)
    metadatas: list[dict[str, Any]] = field(repr=False)
    problem: str = field(default="", repr=False)


def read_csv(path: str | Path, text: str | Sequence[str] | None = None) -> Sheet:
    """Read a CSV file whose first row names the columns.

    Cells are delimited by commas, semicolons, tabs or vertical bars. `text` names the column for
    the text, or several columns, joined by line breaks; by default "text" or "content". Columns of
    numbers are converted, including decimal commas if semicolons are the delimiter. An unnamed
    first column is an index, omitted if it only counts rows. The encoding is UTF-8, UTF-16 with a
    byte order mark, or else Windows-1252, reported in `problem`. Raises `InputError` naming the
    file and the line.
    """
    path = resolve(path)
    source = source_name(path)
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
            if index or not any(columns[at]):  # empty: each line ends with a delimiter
                del names[at], columns[at]
            elif at == 0:
                names[0] = INDEX
    _check_names(source, names)
    return _sheet(
        source, names, [_typed(cells, delimiter == ";") for cells in columns], text, problem
    )


def read_frame(frame: Any, source: str, text: str | Sequence[str] | None = None) -> Sheet:
    """Return the rows of a table (pandas, polars, Arrow) like `read_csv`; dates as ISO text."""
    arrow = hasattr(frame, "to_pydict")
    names = list(frame.column_names if arrow else frame.columns)
    _check_names(source, [str(name) for name in names])
    cells = frame.to_pydict() if arrow else {name: frame[name].to_list() for name in names}
    return _sheet(
        source,
        [str(name) for name in names],
        [list(map(plain_cell, cells[name])) for name in names],
        text,
    )


def _decode(data: bytes, source: str) -> tuple[str, str]:
    """Return the text of a CSV file, and a problem with its encoding, or ""."""
    try:
        return decode(data, source), ""
    except InputError as error:
        with suppress(InputError):
            marked = data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"))
            if not marked and b"\0" not in data:
                problem = (
                    "is not UTF-8 and was read as Windows-1252: save it as UTF-8 if its letters "
                    "are wrong"
                )
                return decode(data, source, "cp1252"), problem
        raise error


def _delimiter(content: str, text: Sequence[str] | None) -> str:
    """Return the delimiter that splits the first row into the text columns, or most columns."""
    best, score = _NO_DELIMITER, (False, 1)
    for delimiter in DELIMITERS:
        with _long_cells():
            lines = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
            first = next(filter(None, lines), [])
        names = [name.strip() for name in first]
        there = all(name in names for name in text) if text else _text_column(names) is not None
        if len(names) > 1 and (there, len(names)) > score:
            best, score = delimiter, (there, len(names))
    return best


def _rows(source: str, content: str, delimiter: str, before: int) -> list[list[str]]:
    """Return the non-empty rows, all of one length; raise `InputError` for the first invalid line.

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


def _dialects(content: str, delimiter: str) -> Iterator[_Dialect]:
    """Yield the possible quoting rules, most common first."""
    yield {}
    yield {"skipinitialspace": True}
    if '\\"' in content:
        yield {"escapechar": "\\", "doublequote": False}
    if delimiter == "\t":
        yield {"quoting": csv.QUOTE_NONE}


def _even(source: str, lines: list[tuple[int, list[str]]]) -> list[list[str]]:
    """Return rows of equal length, without extra empty cells; add the index name for R files."""
    rows = [row for _, row in lines]
    longer = [row for row in rows[1:] if len(row) == len(rows[0]) + 1]
    if len(longer) == len(rows) - 1 > 1 and _is_index([row[0] for row in longer]):
        rows[0].insert(0, "")  # as in files written by R
    for line, row in lines:
        while len(row) > len(rows[0]) and not row[-1]:
            del row[-1]
        if len(row) != len(rows[0]):
            raise InputError(
                f"{source} line {line}: expected {figures.plural(len(rows[0]), 'cell')}, as in the "
                f"first row, got {len(row)}"
            )
    return rows


def _is_index(cells: Sequence[str]) -> bool:
    """Return whether a column only counts its rows, from 0 or 1."""
    counts = [str(number) for number in range(len(cells) + 1)]
    return list(cells) in (counts[:-1], counts[1:])


@contextmanager
def _long_cells() -> Iterator[None]:
    """Allow cells as long as a document; the csv module's limit is process-wide."""
    with _lock:
        before = csv.field_size_limit(MAX_DOCUMENT_BYTES)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _check_names(source: str, names: Sequence[str]) -> None:
    for name in names:
        if not name or names.count(name) > 1 or name in RESERVED:
            wrong = "a reserved" if name in RESERVED else "a repeated" if name else "an empty"
            raise InputError(f"{source} has a column with {wrong} name, {name!r}: rename it")


def _sheet(
    source: str,
    names: list[str],
    columns: list[list[Any]],
    text: str | Sequence[str] | None,
    problem: str = "",
) -> Sheet:
    if text is None:
        found = _text_column(names)
        chosen = [] if found is None else [found]
    else:
        chosen = [text] if isinstance(text, str) else list(text)
    missing = [name for name in chosen if name not in names]
    if missing or (not chosen and names):
        absent = repr(missing[0]) if missing else " or ".join(map(repr, TEXT_COLUMNS))
        columns_are = f"its columns are {', '.join(names) or 'none'}"
        raise InputError(f"{source} has no column {absent} for the text: pass text=; {columns_are}")
    by_name = dict(zip(names, columns, strict=True))
    count = len(columns[0]) if columns else 0
    cells = [[by_name[name][at] for name in chosen] for at in range(count)]
    texts = ["\n".join(str(cell) for cell in row if cell is not None) for row in cells]
    others = [(name, column) for name, column in by_name.items() if name not in chosen]
    metadatas = [
        {name: column[at] for name, column in others if column[at] is not None}
        for at in range(count)
    ]
    return Sheet(source, texts, metadatas, problem)


def _text_column(names: Sequence[str]) -> str | None:
    """Return the default text column, ignoring case, or None."""
    return next((name for wanted in TEXT_COLUMNS for name in names if name.lower() == wanted), None)


def _typed(cells: list[str], decimal_comma: bool) -> list[Any]:
    """Return a column as integers, floats or text, with None for empty cells."""
    filled = [cell for cell in cells if cell]
    kinds: list[tuple[re.Pattern[str], Callable[[str], Any]]] = [(_WHOLE, int), (_NUMBER, float)]
    if decimal_comma and any("," in cell for cell in filled):
        kinds = [(_COMMA_NUMBER, lambda cell: float(cell.replace(".", "").replace(",", ".")))]
    for pattern, kind in kinds:
        if filled and all(map(pattern.fullmatch, filled)):
            return [kind(cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]
