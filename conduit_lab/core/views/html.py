"""The basic static HTML elements that all reprs use.

Everything is escaped, styled inline and free of fixed text colours, so a saved output looks the
same in JupyterLab (light or dark), in nbconvert, and if style sheets are stripped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from conduit_lab.core.views import figures

MAX_ROWS = 20
_LINE = "1px solid rgba(128,128,128,.35)"
# preserve leading spaces and line breaks; keep a number next to its unit
_WRAP = {"left": "pre-wrap", "right": "nowrap"}
MAX_UNBROKEN = 32  # characters of a word; a longer one may break after every 16
_LONG_WORD = re.compile(rf"\S{{{MAX_UNBROKEN + 1},}}")
_PART_CHARACTERS = 16
_CELL = "padding:4px 16px 4px 0;vertical-align:top"
_MONO = "font-family:var(--jp-code-font-family,monospace)"
_INDENT = 20  # pixels per level
_FILL = "rgba(0,114,178,.2)"  # the first colour of `charts.OKABE_ITO`
TEXT_STYLE = (
    "font-family:var(--jp-ui-font-family,sans-serif);font-size:13px;line-height:20px;"
    "font-variant-numeric:tabular-nums"
)


@dataclass(frozen=True)
class Cell:
    """A table cell: `depth` levels of indentation, muted text around its own, a bar behind it.

    The bar covers `share` of the width, 0 to 1.
    """

    text: str
    depth: int = 0
    prefix: str = ""
    suffix: str = ""
    share: float = 0.0

    def __str__(self) -> str:
        return f"{self.prefix}{self.text}{self.suffix}"


def header(kind: str, name: str, facts: Iterable[str] = ()) -> str:
    """Return the header line of a view: its kind, its name and key facts."""
    quiet = '<span style="opacity:.7">'
    space = " " if name else ""
    rest = "".join(f"{quiet} · {breakable(fact)}</span>" for fact in facts)
    return (
        f'<div style="{TEXT_STYLE};white-space:pre-wrap">{quiet}{breakable(kind)}</span>'
        f"{space}<b>{breakable(name)}</b>{rest}</div>"
    )


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    numeric: Collection[str] = (),
    wide: Collection[str] = (),
    limit: int = MAX_ROWS,
    whole: str = "",
) -> str:
    """Return a table with hairline rows, at most 20 by default; a line counts the others.

    `whole` is the expression that returns all rows.

    Columns named in `numeric` are right-aligned, those in `wide` get room for running text. Cells
    are shown with `str` and escaped; a `Cell` is indented and has a bar.
    """
    rows = list(rows)
    # beside running text, long paths must be able to break, or the table overflows the page
    others = "min-width:7em;overflow-wrap:anywhere;" if wide else ""
    room = ["min-width:24em;" if c in wide else "" if c in numeric else others for c in columns]
    align = ["right" if column in numeric else "left" for column in columns]
    styles = [f"text-align:{side};white-space:{_WRAP[side]};" for side in align]
    head = "".join(
        f'<th scope="col" style="{style}font-weight:400;opacity:.7;{_CELL}">'
        f"{breakable(column)}</th>"
        for column, style in zip(columns, styles, strict=True)
    )
    body = "".join(
        f'<tr style="background:none;border-top:{_LINE}">'
        + "".join(
            f'<td style="{width}{_cell_style(cell, style)}{_CELL}{_extra(cell)}">'
            f"{_content(cell)}</td>"
            for cell, style, width in zip(row, styles, room, strict=True)
        )
        + "</tr>"
        for row in rows[:limit]
    )
    return (
        f'<table style="{TEXT_STYLE};border-collapse:collapse;margin:4px 0">'
        f'<thead><tr style="background:none">{head}</tr></thead><tbody>{body}</tbody></table>'
        f"{more(len(rows) - limit + MAX_ROWS, whole)}"
    )


def bar(share: float) -> str:
    """Return the style of a background filled from the left, by `share` from 0 to 1."""
    end = f"{100 * min(1.0, share):.0f}%"
    return f"background:linear-gradient(to right,{_FILL} {end},transparent {end})"


def _cell_style(cell: Any, style: str) -> str:
    """Return the style of a cell; a long text in a numeric column may break."""
    long = len(str(cell)) > MAX_UNBROKEN
    return style.replace("white-space:nowrap", "white-space:pre-wrap") if long else style


def _extra(cell: Any) -> str:
    if not isinstance(cell, Cell):
        return ""
    indent = f";padding-left:{_INDENT * cell.depth}px" if cell.depth else ""
    return indent + (f";min-width:72px;{bar(cell.share)}" if cell.share else "")


def _content(cell: Any) -> str:
    if not isinstance(cell, Cell):
        return breakable(str(cell))
    return _quiet(cell.prefix) + breakable(cell.text) + _quiet(cell.suffix)


def _quiet(content: str) -> str:
    return f'<span style="opacity:.7">{breakable(content)}</span>' if content else ""


def breakable(content: str) -> str:
    """Return escaped text in which long words can break, even in an untrusted notebook."""
    parts, at = [], 0
    for word in _LONG_WORD.finditer(content):
        for end in range(word.start() + _PART_CHARACTERS, word.end(), _PART_CHARACTERS):
            parts.append(escape(content[at:end]))
            at = end
    return "<wbr>".join([*parts, escape(content[at:])])


def more(total: int, whole: str = "") -> str:
    """Return a line that counts the omitted rows of a table, or "" if there are none.

    `whole` is the expression that returns them, such as `hits[20:]`.
    """
    if total <= MAX_ROWS:
        return ""
    rows = figures.plural(total - MAX_ROWS, "more row")
    code = f': <code style="{_MONO}">{breakable(whole)}</code>' if whole else ""
    return f'<div style="{TEXT_STYLE}"><span style="opacity:.7">{rows}{code}</span></div>'


def cut_text(content: str, limit: int, whole: str = "") -> str:
    """Return a text; if longer than `limit` characters, with its middle replaced by a note.

    `whole` is the expression that returns all of it, such as `hit.content`.
    """
    if len(content) <= limit:
        return content
    gap = figures.plural(len(content) - limit, "character")
    gap += f", all of it: {whole}" if whole else ""
    return f"{content[: limit // 2]}\n… {gap} …\n{content[len(content) - limit // 2 :]}"


def text(content: str, limit: int = 20_000, whole: str = "") -> str:
    """Return running text: escaped, wrapped, limited in height, and cut in the middle over `limit`.

    `whole` is the expression that returns all of it.
    """
    content = cut_text(content, limit, whole)
    return (
        f'<div style="{_MONO};font-size:13px;line-height:20px;white-space:pre-wrap;'
        f"overflow-wrap:anywhere;max-height:320px;overflow-y:auto;border-top:{_LINE};"
        f'padding:4px 0;margin-top:4px">{escape(content)}</div>'
    )


def picture(url: str) -> str:
    """Return an image from a data URL, at most as wide as the cell."""
    return f'<img src="{escape(url)}" alt="" style="max-width:100%;max-height:480px">'


def columns(
    names: Sequence[str], rows: Iterable[Sequence[Any]], numeric: Collection[str] = ()
) -> str:
    """Return the same table as plain text with aligned columns."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [
        max(len(name), *(len(row[i]) for row in cells)) if cells else len(name)
        for i, name in enumerate(names)
    ]

    def line(row: Sequence[str]) -> str:
        parts = [
            c.rjust(w) if n in numeric else c.ljust(w)
            for c, w, n in zip(row, widths, names, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(names), *(line(row) for row in cells)])


def bundle(plain: str, html: str) -> dict[str, str]:
    """Return the MIME bundle of a repr: text/plain and static text/html."""
    return {"text/plain": plain, "text/html": html}


def whole(content: str) -> str:
    """Wrap HTML in one element, like a live view: pages give the last element a margin."""
    return f"<div>{content}</div>"


def unwrapped(element: str) -> str:
    """Return a styled element, such as a header, truncated to one line like a live view's."""
    return element.replace('">', ';overflow:hidden;text-overflow:ellipsis;white-space:nowrap">', 1)
