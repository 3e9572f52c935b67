"""GrowingTable: the newest of many rows, in columns of stable width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from conduit_lab.core.views import html
from conduit_lab.core.views.line_picture import LineColumns, line_url
from conduit_lab.core.views.pieces import ViewPiece

HEAD_LINE_HEIGHT = 20  # pixels
CHARACTER_WIDTH = 0.6  # em, of a digit
MAX_CELL_WIDTH = 24  # characters that a column reserves room for
_MIN_LINE_WIDTH = 5.0  # em
_RULE = "1px solid rgba(128,128,128,.35)"
_CELL = "padding:4px 16px 4px 0;vertical-align:bottom;white-space:nowrap"


@dataclass(frozen=True)
class TableColumn:
    """A column: its name, its alignment, its widest cell so far in characters.

    The header of a numeric column may show a sparkline of all its values within `bounds`.
    """

    name: str
    numeric: bool = False
    width: int = 0
    line: LineColumns | None = None
    bounds: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class GrowingTable(ViewPiece):
    """Rows, newest last, each with its number; a table that is too wide scrolls."""

    columns: Sequence[TableColumn]
    rows: Sequence[tuple[str, Sequence[str]]]

    def plain(self) -> str:
        """Return the table as aligned text."""
        names = ["row", *(column.name for column in self.columns)]
        cells = [[number, *row] for number, row in self.rows]
        numeric = {"row", *(column.name for column in self.columns if column.numeric)}
        return html.columns(names, cells, numeric)

    def html(self) -> str:
        """Return the table as static HTML."""
        head = "".join(_head(column) for column in (TableColumn("row", True), *self.columns))
        sides = ["right", *("right" if c.numeric else "left" for c in self.columns)]
        quiet = ";opacity:.7"
        body = "".join(
            f'<tr style="background:none;border-top:{_RULE}">'
            + "".join(
                f'<td style="text-align:{side};{_CELL}{"" if place else quiet}">{escape(cell)}</td>'
                for place, (cell, side) in enumerate(zip([number, *row], sides, strict=True))
            )
            + "</tr>"
            for number, row in self.rows
        )
        return (
            '<div style="overflow-x:auto">'
            f'<table style="{html.TEXT_STYLE};border-collapse:collapse;margin:4px 0">'
            f'<thead><tr style="background:none">{head}</tr></thead><tbody>{body}</tbody></table>'
            "</div>"
        )


def column_room(name: str, width: int) -> float:
    """Return the minimum width in em of a column whose widest cell has `width` characters."""
    return round(min(max(width, len(name)), MAX_CELL_WIDTH) * CHARACTER_WIDTH, 1)


def _head(column: TableColumn) -> str:
    room = column_room(column.name, column.width)
    line = (
        f'<img src="{line_url(column.line, column.bounds, HEAD_LINE_HEIGHT, 1.5)}" alt="" '
        f'style="width:{max(room, _MIN_LINE_WIDTH):.1f}em;height:{HEAD_LINE_HEIGHT}px;'
        'display:block;margin-left:auto">'
        if column.line is not None
        else ""
    )
    side = "right" if column.numeric else "left"
    return (
        f'<th scope="col" style="text-align:{side};min-width:{room:.1f}em;font-weight:400;{_CELL}">'
        f'{line}<span style="opacity:.7">{escape(column.name)}</span></th>'
    )
