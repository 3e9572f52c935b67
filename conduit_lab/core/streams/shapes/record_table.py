"""RecordTable: a stream of dicts, rows or DataFrames as a table with stable columns."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from conduit_lab.core.frames import is_frame
from conduit_lab.core.streams.chunk import chunk_value, frame_rows
from conduit_lab.core.streams.shapes.chunk_shape import ChunkShape, ShapeName
from conduit_lab.core.streams.shapes.envelope import Envelope
from conduit_lab.core.streams.shapes.number_line import as_floats, is_real
from conduit_lab.core.text import clip, one_line
from conduit_lab.core.views import figures
from conduit_lab.core.views.growing_table import GrowingTable, TableColumn
from conduit_lab.core.views.html import MAX_ROWS
from conduit_lab.core.views.line_picture import LineColumns, reading
from conduit_lab.core.views.pieces import Line, ViewPiece

MAX_TABLE_COLUMNS = 12
MAX_CELL_CHARACTERS = 48
_MAX_NAMES = 100  # names of columns not shown, remembered to count each once
_NAMES_SHOWN = 3
_LINE_COLUMNS = 64
_MIN_LINE_ROWS = 8  # fewer values are easier to read than a sparkline


@dataclass
class RecordColumn:
    """A column: its name, whether all values are numbers, its widest cell and its sparkline."""

    name: str
    numeric: bool = True
    width: int = 0  # characters
    line: Envelope = field(default_factory=lambda: Envelope(_LINE_COLUMNS))

    @property
    def right(self) -> bool:
        """Whether it is right-aligned: it has only numbers, and at least one."""
        return self.numeric and self.line.last is not None

    @property
    def drawn(self) -> bool:
        """Whether its header shows a sparkline."""
        low, high = self.line.bounds
        return self.right and low < high and self.line.count >= _MIN_LINE_ROWS


class RecordTable(ChunkShape):
    """The newest 20 rows, and a sparkline of all values of each numeric column.

    The first 12 columns, in order of appearance, are shown; further ones are counted.
    """

    name: ClassVar[ShapeName] = "records"

    def __init__(self) -> None:
        self.columns: dict[str, RecordColumn] = {}
        self.rows: deque[tuple[int, dict[str, str]]] = deque(maxlen=MAX_ROWS)
        self.count = 0
        self._others: set[str] = set()
        self._next = 0  # index of the next chunk
        self._lined = 0  # rows covered by the sparklines

    @staticmethod
    def takes(chunk: Any) -> bool:
        """Return whether `chunk` is a dict, named tuple, Series, DataFrame, or list of dicts."""
        if isinstance(chunk, dict):
            return not isinstance(chunk.get("chunk"), str)  # running text
        if isinstance(getattr(chunk, "text", None), str):
            return False
        if isinstance(chunk, list):
            return bool(chunk) and all(isinstance(item, dict) for item in chunk)
        return is_frame(chunk) or hasattr(chunk, "_asdict") or _is_series(chunk)

    def add(self, chunks: Sequence[Any], start: int) -> None:
        """Add the rows of chunks."""
        self.count += max(0, start - self._next)  # each dropped chunk counts as a row
        self._next = start + len(chunks)
        rows = [row for chunk in chunks for row in _rows(chunk)]
        for row in rows:
            if not self.columns.keys() >= row.keys():
                self._meet(row)
        for column in self.columns.values():
            if column.numeric:
                self._draw(column, [row.get(column.name) for row in rows])
        for place, row in enumerate(rows[-MAX_ROWS:], self.count + max(0, len(rows) - MAX_ROWS)):
            cells = {name: cell_text(row[name]) for name in self.columns if name in row}
            self.rows.append((place, cells))
            for name, text in cells.items():
                self.columns[name].width = max(self.columns[name].width, len(text))
        self.count += len(rows)
        self._lined += len(rows)

    @property
    def note(self) -> str:
        """The caption: the rows not shown, and the columns not shown."""
        parts = []
        if self.count > len(self.rows):
            parts.append(
                f"the last {len(self.rows)} of {figures.plural(self.count, 'row')}; "
                "the others: stream.kept"
            )
        if self._others:
            names = sorted(self._others)
            shown = ", ".join(clip(name, MAX_CELL_CHARACTERS) for name in names[:_NAMES_SHOWN])
            more = ", …" if len(names) > _NAMES_SHOWN else ""
            limit = "at least " if len(names) == _MAX_NAMES else ""
            parts.append(f"{limit}{figures.plural(len(names), 'more column')}: {shown}{more}")
        return " · ".join(parts)

    def pieces(self) -> list[ViewPiece]:
        """Return the table and its note."""
        columns = [_shown(column) for column in self.columns.values()]
        rows = [
            (figures.count(place), [cells.get(name, "") for name in self.columns])
            for place, cells in self.rows
        ]
        table: list[ViewPiece] = [GrowingTable(columns, rows)]
        return [*table, Line(self.note, "quiet")] if self.note else table

    def _meet(self, row: Mapping[str, Any]) -> None:
        """Assign the new columns of `row` a position, or count them."""
        for name in row:
            if name in self.columns or name in self._others:
                continue
            if len(self.columns) < MAX_TABLE_COLUMNS:
                column = self.columns[name] = RecordColumn(name)
                column.line.add(np.full(self._lined, np.nan))  # the column appears late
            elif len(self._others) < _MAX_NAMES:
                self._others.add(name)

    def _draw(self, column: RecordColumn, values: list[Any]) -> None:
        column.numeric = all(value is None or is_real(value) for value in values)
        if column.numeric:
            column.line.add(as_floats(values))


def cell_text(value: Any) -> str:
    """Return the text of a cell, at most 48 characters; "" for a missing value."""
    if value is None:
        return ""
    if is_real(value):
        return _number(value)
    text = value if isinstance(value, str) else chunk_value(value)
    return one_line(text, MAX_CELL_CHARACTERS)


def _number(value: Any) -> str:
    if isinstance(value, int):
        return figures.count(value) if abs(value) < 10**15 else clip(str(value), 24)
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e4 else reading(float(value))


def _shown(column: RecordColumn) -> TableColumn:
    if not column.drawn:
        return TableColumn(column.name, column.right, column.width)
    drawn = LineColumns(*(part.tolist() for part in column.line.columns()))
    return TableColumn(column.name, True, column.width, drawn, column.line.bounds)


def _rows(chunk: Any) -> list[dict[str, Any]]:
    if isinstance(chunk, dict):
        return [{str(name): value for name, value in chunk.items()}]
    if isinstance(chunk, list):
        return [row for item in chunk for row in _rows(item)]
    if is_frame(chunk):
        return list(frame_rows(chunk))
    values = chunk._asdict() if hasattr(chunk, "_asdict") else chunk.to_dict()
    return _rows(dict(values))


def _is_series(chunk: Any) -> bool:
    return hasattr(chunk, "to_dict") and hasattr(chunk, "index")
