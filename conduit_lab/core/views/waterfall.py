"""Waterfall: rows with bars on a shared time axis, as aligned text and as static HTML.

The HTML uses only elements and styles that JupyterLab keeps in an untrusted notebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from conduit_lab.core.views import figures, html
from conduit_lab.core.views.view import View

PLAIN_BAR_CHARACTERS = 24
MAX_BAR_PARTS = 50

_INDENT_PIXELS = 14  # per level; leading spaces collapse in HTML
_MAX_INDENTS = 8
_ACCENT, _QUIET, _FAILED = "0,114,178", "128,128,128", "213,94,0"  # charts.OKABE_ITO
_CELL = "padding:3px 12px 3px 0;vertical-align:top;text-align:left"
_FAINT = "opacity:.7"
_RIGHT = "text-align:right;"


@dataclass(frozen=True)
class WaterfallRow:
    """One row; times are in seconds on the axis.

    `busy` are the parts of the bar from `start` to `end` that are drawn solid. `time`, `own_time`
    (shown if it differs), `device` and `note` are short texts; `remark` and `error` are sentences
    on their own lines. `failed` rows are marked, `critical` ones are bold.
    """

    name: str
    depth: int
    start: float
    end: float
    busy: Sequence[tuple[float, float]]
    time: str
    own_time: str = ""
    device: str = ""
    note: str = ""
    remark: str = ""
    error: str = ""
    failed: bool = False
    critical: bool = False


@dataclass(frozen=True)
class Waterfall:
    """Rows on a time axis of `seconds`, and sentences below; at most 20 rows are shown.

    `left_out` counts the spans without a row.
    """

    rows: Sequence[WaterfallRow]
    seconds: float
    left_out: int = 0
    sentences: Sequence[str] = ()

    def plain(self) -> str:
        """Return the rows as aligned text, with errors and sentences on separate lines."""
        columns = ["span", "", "time", "self", "device", "note"]
        shown = self.rows[: html.MAX_ROWS]
        cells = [
            (
                "  " * row.depth + _marked(row),
                _plain_bar(row, self.seconds),
                row.time,
                row.own_time,
                row.device,
                " · ".join(filter(None, (row.note, row.remark))),
            )
            for row in shown
        ]
        kept = [i for i in range(len(columns)) if i < 3 or any(cell[i] for cell in cells)]
        names = [columns[i] for i in kept]
        head, *lines = html.columns(
            names, [[cell[i] for i in kept] for cell in cells], numeric=("time", "self")
        ).split("\n")
        text = [head]
        for row, line in zip(shown, lines, strict=True):
            text.append(line)
            if row.error:
                text.append("  " * (row.depth + 1) + row.error)
        return "\n".join([*text, *self._below()])

    def html(self) -> str:
        """Return the rows as a table of static HTML; everything in it is escaped."""
        clock = (
            '<div style="display:flex;justify-content:space-between"><span>0</span>'
            f"<span>{escape(figures.seconds(self.seconds))}</span></div>"
        )
        columns = [
            ("span", ""),
            (clock, "width:38%;min-width:64px;"),
            ("time", "text-align:right;"),
        ]
        head = "".join(
            f'<th scope="col" style="{_CELL};{style}font-weight:400;{_FAINT}">{name}</th>'
            for name, style in [*columns, ("", "")]
        )
        body = "".join(_html_row(row, self.seconds) for row in self.rows[: html.MAX_ROWS])
        below = "".join(
            f'<div style="{html.TEXT_STYLE};{_FAINT};max-width:720px">{_sentence(line)}</div>'
            for line in self._below()
        )
        return (
            f'<table style="{html.TEXT_STYLE};border-collapse:collapse;margin:4px 0;width:100%;'
            f'max-width:960px;table-layout:auto"><thead><tr style="background:none">{head}</tr>'
            f"</thead><tbody>{body}</tbody></table>{below}"
        )

    def _below(self) -> list[str]:
        more = [f"{figures.plural(self.left_out, 'more span')}: `list(trace)`"]
        more = more if self.left_out else []
        return [*more, *self.sentences]


@dataclass(frozen=True)
class WaterfallView(View):
    """A view with a waterfall below its header line, before its other parts."""

    waterfall: Waterfall | None = None

    def plain(self) -> str:
        """Return the view as text."""
        head, *rest = super().plain().split("\n", 1)
        return "\n".join([head, *([self.waterfall.plain()] if self.waterfall else []), *rest])

    def html(self) -> str:
        """Return the view as static HTML; everything in it is escaped."""
        head = html.header(self.kind, self.name, self.facts)
        rest = super().html().removeprefix(head)
        return head + (self.waterfall.html() if self.waterfall else "") + rest


def _html_row(row: WaterfallRow, seconds: float) -> str:
    indent = f"padding-left:{_INDENT_PIXELS * min(row.depth, _MAX_INDENTS)}px"
    tag = "b" if row.critical else "span"
    line = '<tr style="background:none;border-top:1px solid rgba(128,128,128,.2)">'
    own_time = f"self {row.own_time}" if row.own_time else ""
    below = " · ".join(filter(None, (own_time, row.remark)))
    facts = "".join(
        f'<span style="{style};white-space:pre-wrap">{html.breakable(text)}</span>'
        for text, style in ((row.device, f"{_FAINT};min-width:52px"), (row.note, "min-width:0"))
    )
    cells = (
        f'<td style="{_CELL}"><div style="{indent};white-space:pre-wrap">'
        f"<{tag}>{html.breakable(_marked(row))}</{tag}></div></td>"
        f'<td style="{_CELL}">{_html_bar(row, seconds)}</td>'
        f'<td style="{_CELL};{_RIGHT}white-space:nowrap">{escape(row.time)}</td>'
        f'<td style="{_CELL}"><div style="display:flex;flex-wrap:wrap;column-gap:8px">{facts}</div>'
        "</td>"
    )
    more = "".join(
        f'<tr style="background:none"><td colspan="4" style="{_CELL};padding-top:0">'
        f'<div style="{indent};{style};white-space:pre-wrap">{html.breakable(text)}</div></td></tr>'
        for text, style in (
            (below, _FAINT),
            (row.error, f"color:rgb({_FAILED})"),
        )
        if text
    )
    return f"{line}{cells}</tr>{more}"


def _sentence(text: str) -> str:
    """Return a sentence as HTML, with text between backticks as code."""
    parts = [html.breakable(part) for part in text.split("`")]
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))


def _marked(row: WaterfallRow) -> str:
    return f"✕ {row.name}" if row.failed else row.name


def _html_bar(row: WaterfallRow, seconds: float) -> str:
    """Return the bar: faint overall, solid where busy, at its position on the axis."""
    left, width = (100 * part for part in _place(row.start, row.end, seconds))
    colour = _FAILED if row.failed else _ACCENT if row.critical else _QUIET
    full, faint = f"rgba({colour},.9)", f"rgba({colour},.4)"
    stops = []
    length = row.end - row.start
    for start, end in _parts(row) if length > 0 else ():
        a, b = (100 * (point - row.start) / length for point in (start, end))
        stops += [f"{faint} {a:.2f}%", f"{full} {a:.2f}%", f"{full} {b:.2f}%", f"{faint} {b:.2f}%"]
    ground = faint if row.busy else full
    if stops:
        ground = f"linear-gradient(to right,{','.join(stops)})"
    return (
        f'<div style="margin:5px 0 0 {left:.2f}%;width:{width:.2f}%;min-width:2px;height:10px;'
        f'background:{ground}"></div>'
    )


def _parts(row: WaterfallRow) -> Sequence[tuple[float, float]]:
    """Return the solid parts of the bar; many are merged into equal pieces that are mostly busy."""
    if len(row.busy) <= MAX_BAR_PARTS:
        return row.busy
    piece = (row.end - row.start) / MAX_BAR_PARTS
    pieces = [(row.start + n * piece, row.start + (n + 1) * piece) for n in range(MAX_BAR_PARTS)]
    return [part for part in pieces if _is_busy(row, *part)]


def _plain_bar(row: WaterfallRow, seconds: float) -> str:
    left, width = _place(row.start, row.end, seconds)
    first = min(PLAIN_BAR_CHARACTERS - 1, int(left * PLAIN_BAR_CHARACTERS))
    last = max(first + 1, round((left + width) * PLAIN_BAR_CHARACTERS))
    if width * PLAIN_BAR_CHARACTERS < 0.25:
        return " " * first + "▏"
    cell = seconds / PLAIN_BAR_CHARACTERS
    bar = "".join(
        "█" if _is_busy(row, n * cell, (n + 1) * cell) else "─" for n in range(first, last)
    )
    return " " * first + bar


def _place(start: float, end: float, seconds: float) -> tuple[float, float]:
    """Return the start and width of an interval as fractions of the axis."""
    if seconds <= 0:
        return 0.0, 1.0
    left = min(1.0, max(0.0, start / seconds))
    return left, min(1.0 - left, max(0.0, (end - start) / seconds))


def _is_busy(row: WaterfallRow, start: float, end: float) -> bool:
    """Return whether most of the bar between two times is busy."""
    return _overlap(row.busy, start, end) >= _overlap([(row.start, row.end)], start, end) / 2


def _overlap(parts: Sequence[tuple[float, float]], start: float, end: float) -> float:
    return sum(max(0.0, min(end, b) - max(start, a)) for a, b in parts)
