"""LinePicture: numbers in order as a line, drawn as an image that every front end keeps.

The image has no text, since an image cannot adopt the colours of its page; the figures are placed
around it. It fills the available width at a fixed height.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from conduit_lab.core.views import figures, html
from conduit_lab.core.views.pieces import TEXT_WIDTH, ViewPiece

LINE_HEIGHT = 120  # pixels
_WIDTH = 600  # units of the image, which is stretched to the available width
_MARGIN = 4  # pixels above and below the line, for its stroke width
LINE_COLOR = "#1B86C8"  # the blue of charts.OKABE_ITO, lightened for dark backgrounds
_QUIET = "font-size:12px;line-height:16px;opacity:.7;white-space:nowrap"
_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN_COLUMNS = 60


@dataclass(frozen=True)
class LineColumns:
    """The minimum, maximum and mean of each column; NaN if a column has no values."""

    low: Sequence[float]
    high: Sequence[float]
    mean: Sequence[float]


@dataclass(frozen=True)
class LinePicture(ViewPiece):
    """A line through the means, a band from minimum to maximum, and the last number.

    `bounds` are the minimum and maximum, the ends of the vertical axis; `last` is the newest
    number. `start` and `end` are the labels at the ends of the horizontal axis.
    """

    columns: LineColumns
    bounds: tuple[float, float]
    last: float
    start: str = ""
    end: str = ""

    def plain(self) -> str:
        """Return the means as block characters, at most 60, between their bounds."""
        means = [value for value in self.columns.mean if math.isfinite(value)]
        step = -(-len(means) // _PLAIN_COLUMNS) or 1
        shares = [_share(value, *self.bounds) for value in means[::step]]
        line = "".join(_BLOCKS[min(7, int(8 * share))] for share in shares)
        low, high = map(reading, self.bounds)
        return f"{line} {low} to {high}, last {reading(self.last)}"

    def html(self) -> str:
        """Return the image with its bounds at the left and the last number at its end."""
        low, high = map(reading, self.bounds)
        ends = [high] if low == high else [high, low]
        sides = "".join(f"<span>{escape(end)}</span>" for end in ends)
        spread = "center" if low == high else "space-between"
        axis = (
            f'<div style="{_QUIET};display:flex;flex-direction:column;justify-content:{spread};'
            f'text-align:right;min-width:56px">{sides}</div>'
        )
        place = last_place(self.last, self.bounds)
        number = (
            f'<div style="min-width:88px"><div style="padding-top:{place}px;font-size:20px;'
            f'line-height:24px;white-space:nowrap"><b>{escape(reading(self.last))}</b></div></div>'
        )
        style = f"width:100%;height:{LINE_HEIGHT}px;display:block"
        picture = f'<img src="{line_url(self.columns, self.bounds)}" alt="" style="{style}">'
        below = (
            f'<div style="{_QUIET};display:flex;justify-content:space-between;'
            f'padding:0 96px 0 64px"><span>{escape(self.start)}</span>'
            f"<span>{escape(self.end)}</span></div>"
        )
        return (
            f'<div style="{html.TEXT_STYLE};{TEXT_WIDTH};margin:4px 0"><div style="display:flex;'
            f'column-gap:8px;height:{LINE_HEIGHT}px">{axis}<div style="flex:1 1 0;min-width:0">'
            f"{picture}</div>{number}</div>{below}</div>"
        )


def reading(value: float) -> str:
    """Format a number for reading: whole numbers unchanged, others with three digits."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e9:
        return figures.count(int(value))
    if 1e-3 <= abs(value) < 1e6:
        places = max(0, 2 - math.floor(math.log10(abs(float(f"{value:.2e}")))))
        return f"{value:,.{places}f}".replace(",", figures.THIN_SPACE)
    return f"{value:.3g}"


def last_place(last: float, bounds: tuple[float, float]) -> int:
    """Return the pixels above the last number, to place its 24-pixel line beside its point."""
    middle = _height(_share(last, *bounds), LINE_HEIGHT)
    return round(min(max(middle - 12, 0), LINE_HEIGHT - 24))


def line_url(
    columns: LineColumns, bounds: tuple[float, float], height: int = LINE_HEIGHT, stroke: float = 2
) -> str:
    """Return the line and its band as the data URL of an SVG image without text."""
    parts = []
    if bounds[0] < 0 < bounds[1]:
        zero = f"{_height(_share(0, *bounds), height):.1f}"
        parts.append(f'<path d="M0 {zero}H{_WIDTH}" stroke="#808080" stroke-width="1"/>')
    lines, bands, dots = [], [], []
    for run in _runs(columns.mean):
        points = [
            tuple(f"{_height(_share(row[at], *bounds), height):.1f}" for row in _rows(columns))
            for at in run
        ]
        across = [f"{_across(at, len(columns.mean)):.1f}" for at in run]
        path = "L".join(f"{x} {point[2]}" for x, point in zip(across, points, strict=True))
        if len(run) == 1:
            dots.append(f"M{path}L{path}")
            continue
        lines.append(f"M{path}")
        if any(columns.low[at] < columns.high[at] for at in run):
            over = [f"{x} {point[1]}" for x, point in zip(across, points, strict=True)]
            under = [f"{x} {point[0]}" for x, point in zip(across, points, strict=True)]
            bands.append(f"M{'L'.join([*over, *reversed(under)])}Z")
    if bands:
        parts.append(f'<path d="{"".join(bands)}" fill="{LINE_COLOR}" fill-opacity=".3"/>')
    for paths, width in ((lines, stroke), (dots, 3 * stroke)):
        if paths:
            parts.append(
                f'<path d="{"".join(paths)}" fill="none" stroke="{LINE_COLOR}" '
                f'stroke-width="{width}" stroke-linecap="round" stroke-linejoin="round" '
                'vector-effect="non-scaling-stroke"/>'
            )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'preserveAspectRatio="none">{"".join(parts)}</svg>'
    )
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def _rows(columns: LineColumns) -> tuple[Sequence[float], ...]:
    return columns.low, columns.high, columns.mean


def _runs(values: Sequence[float]) -> Iterator[list[int]]:
    """Yield the indexes of each run of finite values."""
    run: list[int] = []
    for place, value in enumerate(values):
        if math.isfinite(value):
            run.append(place)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _across(place: int, count: int) -> float:
    return _WIDTH / 2 if count == 1 else 2 + (_WIDTH - 4) * place / (count - 1)


def _height(share: float, height: int) -> float:
    return height - _MARGIN - share * (height - 2 * _MARGIN)


def _share(value: float, low: float, high: float) -> float:
    """Return the relative position of `value` between `low` and `high`; 0.5 if they are equal."""
    extent = high / 2 - low / 2  # halved, as the whole may overflow to infinity
    return (value / 2 - low / 2) / extent if extent > 0 else 0.5
