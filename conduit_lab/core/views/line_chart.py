"""LineChart: lines over a common axis, drawn as an SVG image, with text as HTML around it.

Sanitizers that strip `svg` keep an image, which stretches with the cell but cannot adopt the host's
colours: text is therefore HTML, and the image has only lines that are visible on light and dark
backgrounds.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from conduit_lab.core.text import clip
from conduit_lab.core.views import html
from conduit_lab.core.views.charts import Chart, colors_of
from conduit_lab.core.views.pieces import TEXT_WIDTH, ViewPiece

Points = Sequence[tuple[float, float]]

_HEIGHT = 224  # pixels
_MARGIN = 10  # pixels above and below the outermost tick, half a label
_LABEL = 20  # pixels, the height of a line's label
_MAX_NAME = 18  # characters
_UNITS = 1000  # of the image's width, regardless of its display width
_X_MARGIN = 24  # in these units
_MAX_DOTS = 20  # per line
_MAX_COLUMNS = 12  # in the text form
_TINY = 1e-200
_ROUNDING = 1e-9  # of a tick; low / size is not exact
_GRID = "stroke:#808080;stroke-opacity:.35;stroke-width:1"
_QUIET = "opacity:.7"
_ZERO_WIDTH = "display:flex;justify-content:center;width:0;white-space:nowrap"


class LineChart(Chart):
    """One line per name over a common x axis; each label shows its first and last number.

    `lines` are (x, y) points by name, sorted by x; up to 20 points are marked. `x` and `y` name the
    axes in `values`; `format` formats the y numbers, both in Python and in D3, such as ".0%".
    """

    def __init__(
        self,
        title: str,
        lines: Mapping[str, Points],
        x: str,
        y: str,
        *,
        name: str = "line",
        format: str = ".3g",
        subtitle: str = "",
    ) -> None:
        values = [
            {name: each, x: place, y: number}
            for each, points in lines.items()
            for place, number in points
        ]
        super().__init__(title, values, subtitle)
        self._x, self._y, self._name, self._format = x, y, name, format

    def drawing(self) -> ViewPiece:
        """Return the lines with their axes and labels."""
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in self.values:
            points = lines.setdefault(row[self._name], [])
            if row[self._x] is not None and row[self._y] is not None:
                points.append((row[self._x], row[self._y]))
        return _Plot(
            {name: points for name, points in lines.items() if points}, self._x, self._format
        )

    @property
    def _encoding(self) -> dict[str, Any]:
        colors = colors_of(row[self._name] for row in self.values)
        scale = {"domain": list(colors), "range": list(colors.values())}
        return {
            "height": _HEIGHT,
            "mark": {"type": "line", "point": True},
            "encoding": {
                "x": {"field": self._x, "type": "quantitative"},
                "y": {
                    "field": self._y,
                    "type": "quantitative",
                    "axis": {"format": self._format},
                    "scale": {"zero": False},
                },
                "color": {"field": self._name, "type": "nominal", "sort": None, "scale": scale},
            },
        }


@dataclass(frozen=True)
class _Plot(ViewPiece):
    lines: Mapping[str, Points]
    x: str
    format: str

    def plain(self) -> str:
        """Return one row per line, with its numbers aligned to their x."""
        places = sorted({x for points in self.lines.values() for x, _ in points})
        shown = places[:: -(-len(places) // _MAX_COLUMNS) or 1]
        shown = shown if not places or shown[-1] == places[-1] else [*shown, places[-1]]
        columns = (self.x, *(f"{x:g}" for x in shown))
        rows = [
            (name, *(self._text(dict(points)[x]) if x in dict(points) else "" for x in shown))
            for name, points in self.lines.items()
        ]
        return html.columns(columns, rows, numeric=columns[1:]) if rows else ""

    def html(self) -> str:
        """Return ticks at the left, the image with ticks below, and labels at the right."""
        if not self.lines:
            return ""
        x, y = (
            [point[axis] for points in self.lines.values() for point in points] for axis in (0, 1)
        )
        across, up = _Scale(min(x), max(x), x_ticks(x)), _Scale.over(ticks(min(y), max(y)))
        # duplicate texts are dropped
        texts = {self._text(tick): tick for tick in reversed(up.ticks)}
        left = _column(
            [
                (_top(up.share(tick)), f'<span style="{_QUIET}">{escape(text)}</span>')
                for text, tick in texts.items()
            ],
            "text-align:right;padding-right:8px",
        )
        below = _row([(_left(across.share(tick)), f"{tick:g}") for tick in across.ticks])
        return (
            f'<div style="{html.TEXT_STYLE};display:flex;{TEXT_WIDTH};margin:8px 0">{left}'
            f'<div style="flex:1 1 0;min-width:0">{self._image(across, up)}{below}'
            f'<div style="text-align:center;{_QUIET}">{escape(self.x)}</div></div>'
            f"{self._labels(up)}</div>"
        )

    def _text(self, number: float) -> str:
        return format(number, self.format)

    def _image(self, across: _Scale, up: _Scale) -> str:
        grid = "".join(
            f'<path style="{_GRID}" d="M0 {_top(up.share(tick)):.1f}H{_UNITS}"/>'
            for tick in up.ticks
        )
        colors = colors_of(self.lines)
        drawn = "".join(
            _line(
                [(_UNITS * _left(across.share(x)), _top(up.share(y))) for x, y in points],
                colors[name],
            )
            for name, points in reversed(list(self.lines.items()))  # the first one on top
        )
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="560" height="{_HEIGHT}" '
            f'viewBox="0 0 {_UNITS} {_HEIGHT}" preserveAspectRatio="none">'
            "<style>path{fill:none;vector-effect:non-scaling-stroke;stroke-linecap:round;"
            f"stroke-linejoin:round}}</style>{grid}{drawn}</svg>"
        )
        url = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
        style = f"display:block;width:100%;height:{_HEIGHT}px"
        return f'<img src="{url}" alt="{escape(self.plain())}" style="{style}">'

    def _labels(self, up: _Scale) -> str:
        """Return each line's name and numbers beside its end, spread apart to avoid overlap."""
        colors = colors_of(self.lines)
        ends = sorted(self.lines, key=lambda name: -self.lines[name][-1][1])
        places = spread_labels([_top(up.share(self.lines[name][-1][1])) for name in ends])
        labels = []
        for name, place in zip(ends, places, strict=True):
            first, last = (self._text(self.lines[name][at][1]) for at in (0, -1))
            numbers = last if len(self.lines[name]) == 1 else f"{first} → {last}"
            labels.append(
                (
                    place,
                    f'<span style="color:{colors[name]}">●</span> '
                    f"{escape(clip(name, _MAX_NAME))} <b>{escape(numbers)}</b>",
                )
            )
        return _column(labels, "padding-left:8px")


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    ticks: Sequence[float]

    @classmethod
    def over(cls, ticks: Sequence[float]) -> _Scale:
        return cls(ticks[0], ticks[-1], ticks)

    def share(self, number: float) -> float:
        """Return a number's relative position, 0 to 1; the middle if all are equal."""
        return (number - self.low) / (self.high - self.low) if self.high > self.low else 0.5


def _left(share: float) -> float:
    """Return a position as a fraction of the image's width, with a margin for the dots."""
    return (_X_MARGIN + share * (_UNITS - 2 * _X_MARGIN)) / _UNITS


def _top(share: float) -> float:
    """Return a position in pixels from the top; 1 is the top."""
    return _MARGIN + (1 - share) * (_HEIGHT - 2 * _MARGIN)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most `most` + 1 evenly spaced round numbers that enclose `low` and `high`.

    If these are equal, the ticks start or end at 0.
    """
    if math.isclose(low, high, rel_tol=1e-9, abs_tol=_TINY):
        low, high = sorted((0.0, high)) if abs(high) > _TINY else (0.0, 1.0)
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20):
        size = step * factor
        first, last = math.floor(low / size + _ROUNDING), math.ceil(high / size - _ROUNDING)
        if last - first <= most:
            break
    return [float(f"{n * size:.12g}") for n in range(first, last + 1)]


def x_ticks(places: Sequence[float]) -> list[float]:
    """Return round numbers between the minimum and maximum, few enough for their labels.

    Only whole numbers if all positions are whole.
    """
    low, high = min(places), max(places)
    if low == high:
        return [low]
    whole = all(float(place).is_integer() for place in places)
    most = _MAX_COLUMNS if whole and high - low < _MAX_COLUMNS else 5
    inside = [tick for tick in ticks(low, high, most) if low <= tick <= high]
    return [tick for tick in inside if tick.is_integer() or not whole]


def spread_labels(places: Sequence[float]) -> list[float]:
    """Spread ascending positions as far as 20-pixel labels need, within the height."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + _LABEL) if moved else place)
    limit = max(float(_HEIGHT - _MARGIN), _LABEL * (len(places) - 1) + _MARGIN)
    for at in reversed(range(len(moved))):
        moved[at] = min(moved[at], limit)
        limit = moved[at] - _LABEL
    return moved


def _line(points: Points, color: str) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dotted = points if len(points) <= _MAX_DOTS else ()
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in dotted)
    return (
        f'<path style="stroke:{color};stroke-width:2" d="M{path}"/>'
        f'<path style="stroke:{color};stroke-width:7" d="{dots}"/>'
    )


def _column(items: Iterable[tuple[float, str]], style: str) -> str:
    """Stack lines of HTML, each centred at a position from the top."""
    lines, end = [], 0.0
    for place, content in items:
        top = place - _LABEL / 2
        lines.append(
            f'<span style="display:block;margin-top:{top - end:.1f}px;height:{_LABEL}px">'
            f"{content}</span> "
        )
        end = top + _LABEL
    return f'<div style="flex:0 0 auto;white-space:nowrap;{style}">{"".join(lines)}</div>'


def _row(items: Iterable[tuple[float, str]]) -> str:
    """Return texts side by side, each centred at a fraction of the width."""
    texts, end = [], 0.0
    for share, content in items:
        texts.append(
            f'<span style="{_ZERO_WIDTH};margin-left:{100 * (share - end):.2f}%">'
            f"<span>{escape(content)}</span></span> "
        )
        end = share
    return f'<div style="display:flex;{_QUIET}">{"".join(texts)}</div>'
