"""Sheet: a table whose every row is an entry, from a CSV file or a DataFrame."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import resolve
from conduit_lab.vectors.documents.document import decode, read_bytes, source_of
from conduit_lab.vectors.table import plain

TEXT_COLUMNS = ("text", "content")  # where no column is named
RESERVED = ("source", "section", "row")  # what add_documents itself says of a row

# A number as a table writes it: `007` is a name and stays text, and so does what float64 would round.
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True)
class Sheet:
    """The rows of a table: one text each, and the other columns as its metadata, empty cells left out."""

    source: str
    texts: list[str] = field(repr=False)
    metadatas: list[dict[str, Any]] = field(repr=False)


def read_csv(path: str | Path, text: str | Sequence[str] | None = None) -> Sheet:
    """Read a CSV file in UTF-8 whose first row names the columns; commas, semicolons or tabs part the cells.

    `text` names the column that becomes the text, or several, joined by line breaks; by default it is "text" or
    "content". A column that holds only numbers becomes numbers. Raises `InputError` naming the file and the line.
    """
    path = resolve(path)
    source = source_of(path)
    return parse_csv(source, read_bytes(path, source), text)


def parse_csv(source: str, data: bytes, text: str | Sequence[str] | None = None) -> Sheet:
    """Return the rows in the bytes `data` of a CSV file; raises as `read_csv` does."""
    content = decode(data, source)
    first = content.lstrip("\r\n").partition("\n")[0]
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row and rows and len(row) != len(rows[0]):
                raise InputError(f"{source} line {reader.line_num} has {len(row)} cells, its first row {len(rows[0])}")
            if row:
                rows.append(row)
    except csv.Error as error:
        raise InputError(f"{source} line {reader.line_num} is not CSV: {error}") from None
    names = [name.strip() for name in rows[0]] if rows else []
    _check_names(source, names)
    return _sheet(source, names, [_typed([row[at] for row in rows[1:]]) for at in range(len(names))], text)


def read_frame(frame: Any, source: str, text: str | Sequence[str] | None = None) -> Sheet:
    """Return the rows of a table (pandas, polars, Arrow) by the rules of `read_csv`; dates become ISO text."""
    arrow = hasattr(frame, "to_pydict")
    names = list(frame.column_names if arrow else frame.columns)
    _check_names(source, [str(name) for name in names])
    cells = frame.to_pydict() if arrow else {name: frame[name].to_list() for name in names}
    return _sheet(source, [str(name) for name in names], [list(map(plain, cells[name])) for name in names], text)


def _check_names(source: str, names: Sequence[str]) -> None:
    for name in names:
        if not name or names.count(name) > 1 or name in RESERVED:
            wrong = "of an entry's own" if name in RESERVED else "that another has" if name else "that is empty"
            raise InputError(f"{source} has a column with a name {wrong}, {name!r}: rename it")


def _sheet(source: str, names: list[str], columns: list[list[Any]], text: str | Sequence[str] | None) -> Sheet:
    if text is None:
        wanted = [name for name in TEXT_COLUMNS if name in names][:1]
    else:
        wanted = [text] if isinstance(text, str) else list(text)
    missing = [name for name in wanted if name not in names]
    if missing or (not wanted and names):
        asked = f"no column {missing[0]!r}" if missing else f"no column {' or '.join(map(repr, TEXT_COLUMNS))}"
        there = f"its columns are {', '.join(names) or 'none'}"
        raise InputError(f"{source} has {asked} to take the text from: pass text=; {there}")
    by_name = dict(zip(names, columns, strict=True))
    count = len(columns[0]) if columns else 0
    cells = [[by_name[name][at] for name in wanted] for at in range(count)]
    texts = ["\n".join(str(cell) for cell in row if cell is not None) for row in cells]
    others = [(name, column) for name, column in by_name.items() if name not in wanted]
    metadatas = [{name: column[at] for name, column in others if column[at] is not None} for at in range(count)]
    return Sheet(source, texts, metadatas)


def _typed(cells: list[str]) -> list[Any]:
    """Return a column as whole numbers, numbers or text, None for an empty cell."""
    filled = [cell for cell in cells if cell]
    kinds: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = ((_WHOLE, int), (_NUMBER, float))
    for pattern, kind in kinds:
        if filled and all(map(pattern.fullmatch, filled)):
            return [kind(cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]
