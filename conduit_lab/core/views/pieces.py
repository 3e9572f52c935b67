"""Pieces: bars, strips, marked text and columns, the parts of views.

Each is static HTML with inline styles that an untrusted notebook keeps, and escapes its text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from conduit_lab.core.views import figures, html

MAX_BARS = 10
MAX_STRIP_CELLS = 128
TEXT_WIDTH = "max-width:720px"

_QUIET = "opacity:.7"
_SMALL = "font-size:12px;line-height:16px"
_ACCENT, _GREY = "0,114,178", "128,128,128"  # of charts.OKABE_ITO, and a neutral grey
_NEGATIVE = "230,159,0"  # the second of charts.OKABE_ITO
# for `em`: `mark` has its own colour, and an untrusted notebook strips color:inherit
_MARK = "background:rgba(230,159,0,.35);font-style:normal"
_SUP = "font-size:12px;line-height:0;padding-left:2px"
_PLAIN_BAR = 20  # characters


class ViewPiece(ABC):
    """A part of a view, as text and as static HTML."""

    @abstractmethod
    def plain(self) -> str:
        """Return it as text; empty if it has no text form."""

    @abstractmethod
    def html(self) -> str:
        """Return it as static HTML."""


@dataclass(frozen=True)
class Line(ViewPiece):
    """A line of text; `size` is "large", "usual" or "quiet"."""

    text: str
    size: str = "usual"

    def plain(self) -> str:
        """Return the text."""
        return self.text

    def html(self) -> str:
        """Return the text, wrapped at 720 pixels."""
        return block(escape(self.text), self.size)


@dataclass(frozen=True)
class Bar:
    """One bar: its label, a share from 0 to 1, its number as text, and whether it is emphasized.

    `note` is muted text after the label.
    """

    label: str
    share: float
    text: str
    strong: bool = False
    note: str = ""


@dataclass(frozen=True)
class Bars(ViewPiece):
    """Labelled bars, one per line; the first ten are shown and the others counted as `noun`.

    `whole` is the expression that returns all of them.
    """

    bars: Sequence[Bar]
    title: str = ""
    noun: str = "label"
    whole: str = ""

    @property
    def _more(self) -> str:
        count = len(self.bars) - MAX_BARS
        code = f": {self.whole}" if self.whole else ""
        return f"{figures.plural(count, f'more {self.noun}')}{code}" if count > 0 else ""

    def plain(self) -> str:
        """Return a line per bar."""
        rows = [
            (f"{bar.label} {bar.note}".strip(), "█" * round(_PLAIN_BAR * _cut(bar.share)), bar.text)
            for bar in self.bars[:MAX_BARS]
        ]
        shown = html.columns((self.title, " ", ""), rows, numeric=("",)).split("\n")
        lines = shown if self.title else shown[1:]  # without a title the first line is empty
        return "\n".join([*lines, *([self._more] if self._more else [])])

    def html(self) -> str:
        """Return rows whose background is filled by their share."""
        title = block(escape(self.title), "quiet") if self.title else ""
        rows = "".join(map(_bar_row, self.bars[:MAX_BARS]))
        more = block(escape(self._more), "quiet") if self._more else ""
        return f'{title}<div style="max-width:480px">{rows}</div>{more}'


@dataclass(frozen=True)
class Marked(ViewPiece):
    """Running text in which the sorted, non-overlapping `spans` are highlighted.

    `limit` is its height in pixels, above which it scrolls.
    """

    text: str
    spans: Sequence[tuple[int, int]] = ()
    limit: int = 0

    def plain(self) -> str:
        """Return the text."""
        return self.text

    def html(self) -> str:
        """Return the text with highlights and its line breaks."""
        height = f"max-height:{self.limit}px;overflow-y:auto;" if self.limit else ""
        inner = marked(self.text, self.spans)
        style = f"{html.TEXT_STYLE};{TEXT_WIDTH};{height}white-space:pre-wrap;{_BREAK}"
        return f'<div style="{style}">{inner}</div>'


@dataclass(frozen=True)
class Cited(ViewPiece):
    """A large text with source numbers at some positions, each (position, number)."""

    text: str
    numbers: Sequence[tuple[int, str]] = ()

    def plain(self) -> str:
        """Return the text with the numbers in brackets."""
        return "".join(f"{part} [{number}]" if number else part for part, number in self._parts())

    def html(self) -> str:
        """Return the text with superscript numbers and its line breaks."""
        inner = "".join(
            escape(part) + (f'<sup style="{_SUP}">{escape(number)}</sup>' if number else "")
            for part, number in self._parts()
        )
        return block(f'<div style="white-space:pre-wrap">{inner}</div>', "large")

    def _parts(self) -> list[tuple[str, str]]:
        parts, at = [], 0
        for place, number in self.numbers:
            parts.append((self.text[at:place], number))
            at = place
        return [*parts, (self.text[at:], "")]


@dataclass(frozen=True)
class Strip(ViewPiece):
    """Numbers as a strip of tinted cells: blue above zero, orange below, by magnitude.

    More than 128 are averaged in groups.
    """

    values: Sequence[float]

    def plain(self) -> str:
        """Return the number of values and the first few."""
        first = ", ".join(f"{value:.3g}" for value in self.values[:4])
        return f"{figures.plural(len(self.values), 'value')}: {first}" + (
            ", …" if len(self.values) > 4 else ""
        )

    def html(self) -> str:
        """Return the strip as one gradient, with its largest value below."""
        cells = _averaged(self.values)
        largest = max(map(abs, cells), default=0.0) or 1.0
        stops = []
        for place, value in enumerate(cells):
            tint = f"rgba({_NEGATIVE if value < 0 else _ACCENT},{abs(value) / largest:.2f})"
            start, end = (100 * at / len(cells) for at in (place, place + 1))
            stops += [f"{tint} {start:.2f}%", f"{tint} {end:.2f}%"]
        ground = f"background:linear-gradient(to right,{','.join(stops)})" if stops else ""
        return (
            f'<div style="{TEXT_WIDTH};height:24px;margin:4px 0;{ground}"></div>'
            f"{block(escape(self.plain()), 'quiet')}"
        )


@dataclass(frozen=True)
class Columns(ViewPiece):
    """Groups of pieces side by side if there is room, or else stacked."""

    groups: Sequence[Sequence[ViewPiece]]

    def plain(self) -> str:
        """Return the pieces one after another."""
        return "\n".join(filter(None, (piece.plain() for group in self.groups for piece in group)))

    def html(self) -> str:
        """Return columns of at least 440 and at most 720 pixels."""
        inner = "".join(
            f'<div style="flex:1 1 440px;min-width:0;{TEXT_WIDTH}">'
            f"{''.join(piece.html() for piece in group)}</div>"
            for group in self.groups
            if group
        )
        return f'<div style="display:flex;flex-wrap:wrap;column-gap:32px">{inner}</div>'


@dataclass(frozen=True)
class Folded(ViewPiece):
    """Pieces that are hidden until a summary line is opened."""

    summary: str
    pieces: Sequence[ViewPiece]
    opened: bool = False

    def plain(self) -> str:
        """Return only the summary line, or also the pieces if they are open."""
        inner = [piece.plain() for piece in self.pieces] if self.opened else []
        return "\n".join(filter(None, [self.summary, *inner]))

    def html(self) -> str:
        """Return a `details` element."""
        return (
            f'<details style="{html.TEXT_STYLE};margin:4px 0"{" open" if self.opened else ""}>'
            f'<summary style="{_QUIET};cursor:pointer;{_BREAK}">{escape(self.summary)}</summary>'
            f"{''.join(piece.html() for piece in self.pieces)}</details>"
        )


@dataclass(frozen=True)
class Card(ViewPiece):
    """A search result: its heading, a bar with its score, pieces below, and muted facts beside it.

    `number` is its position in the list, empty if it stands alone.
    """

    title: str
    share: float
    score: str
    pieces: Sequence[ViewPiece] = ()
    facts: Sequence[str] = ()
    number: str = ""

    def plain(self) -> str:
        """Return the heading with the score, then the pieces and the facts."""
        head = " ".join(filter(None, (self.number, self.title, self.score)))
        inner = [piece.plain() for piece in self.pieces]
        return "\n".join(filter(None, [head, *inner, " · ".join(self.facts)]))

    def html(self) -> str:
        """Return the card, with its facts at the right if there is room."""
        number = f'<span style="{_QUIET}">{escape(self.number)}</span> ' if self.number else ""
        score = (
            f'<span style="padding:0 8px;min-width:96px;margin-left:auto;text-align:right;'
            f'white-space:nowrap;{_ground(self.share, True)}">{escape(self.score)}</span>'
            if self.score
            else ""
        )
        head = (
            f'<div style="{html.TEXT_STYLE};display:flex;column-gap:12px;align-items:baseline">'
            f'<span style="min-width:0;{_BREAK}">{number}<b>{escape(self.title)}</b></span>'
            f"{score}</div>"
        )
        side = "".join(block(escape(fact), "quiet") for fact in self.facts)
        inner = "".join(piece.html() for piece in self.pieces)
        beside = f'<div style="flex:1 1 160px;max-width:360px">{side}</div>' if side else ""
        return (
            '<div style="border-top:1px solid rgba(128,128,128,.35);padding:8px 0;display:flex;'
            'flex-wrap:wrap;column-gap:32px;row-gap:4px">'
            f'<div style="flex:1 1 400px;min-width:0;{TEXT_WIDTH}">{head}{inner}</div>'
            f"{beside}</div>"
        )


_BREAK = "overflow-wrap:break-word"  # an untrusted notebook strips the value `anywhere`
_SIZES = {
    "large": "font-size:20px;line-height:28px;margin:4px 0 8px 0",
    "usual": "margin:2px 0",
    "quiet": f"{_SMALL};{_QUIET};margin:2px 0",
}


def block(content: str, size: str = "usual") -> str:
    """Wrap HTML that is already escaped in a block, in one of three sizes."""
    return f'<div style="{html.TEXT_STYLE};{TEXT_WIDTH};{_BREAK};{_SIZES[size]}">{content}</div>'


def marked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return escaped text with its `spans` highlighted."""
    parts, at = [], 0
    for start, end in spans:
        parts.append(escape(text[at:start]))
        parts.append(f'<em style="{_MARK}">{escape(text[start:end])}</em>')
        at = end
    return "".join([*parts, escape(text[at:])])


def _bar_row(bar: Bar) -> str:
    tag = "b" if bar.strong else "span"
    note = f' <span style="{_QUIET}">{escape(bar.note)}</span>' if bar.note else ""
    return (
        f'<div style="{html.TEXT_STYLE};display:flex;justify-content:space-between;'
        f"column-gap:16px;padding:4px 8px;margin:2px 0;"
        f'{_ground(bar.share, bar.strong)}">'
        f'<span style="min-width:0;{_BREAK}"><{tag}>{escape(bar.label)}</{tag}>{note}</span>'
        f'<span style="white-space:nowrap">{escape(bar.text)}</span></div>'
    )


def _ground(share: float, strong: bool) -> str:
    """Return the style of a faint background filled from the left, by `share`."""
    end = f"{100 * _cut(share):.1f}%"
    fill = f"rgba({_ACCENT},.35)" if strong else f"rgba({_GREY},.25)"
    return f"background:linear-gradient(to right,{fill} {end},rgba({_GREY},.08) {end})"


def _cut(share: float) -> float:
    return min(1.0, max(0.0, share)) if share == share else 0.0  # NaN has no bar


def _averaged(values: Sequence[float]) -> list[float]:
    """Return at most 128 finite values, averaging groups of neighbours."""
    finite = [float(v) if abs(v) < float("inf") else 0.0 for v in values]
    size = -(-len(finite) // MAX_STRIP_CELLS) or 1
    groups = [finite[at : at + size] for at in range(0, len(finite), size)]
    return [sum(group) / len(group) for group in groups]
