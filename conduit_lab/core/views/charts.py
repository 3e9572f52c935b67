"""Charts: plots that support one sentence, as text and as static HTML for any front end.

A chart needs no script, style sheet or plotting library and follows the width of its cell. It uses
the host's text style, and looks the same in trusted and untrusted notebooks, on light and dark
backgrounds.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from conduit_lab.core.views import html
from conduit_lab.core.views.pieces import Bar, Bars, ViewPiece, block

# Okabe and Ito 2008, "Color Universal Design": seven colours that every kind of colour vision can
# distinguish; black is used for text
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
# a search mode has the same colour in every chart, with a contrast of at least 3 on light and dark
# backgrounds
MODE_COLORS = {"dense": "#0072B2", "hybrid": "#009E73", "lexical": "#D55E00"}
_OTHER_COLORS = ("#CC79A7", "#56B4E9", "#E69F00", "#808080")


class Chart(ViewPiece):
    """A plot that supports one sentence, its `title`.

    `values` are its rows as plain Python numbers, with None for NaN and infinity; `spec` is the
    same plot as a Vega-Lite 5 dict, for Altair and other tools.
    """

    max_width = 720  # pixels

    def __init__(self, title: str, values: Iterable[Mapping[str, Any]], subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self.values = [{key: _plain(value) for key, value in row.items()} for row in values]

    @abstractmethod
    def drawing(self) -> ViewPiece:
        """Return the plot without its title."""

    @property
    @abstractmethod
    def _encoding(self) -> dict[str, Any]:
        """The mark and the encoding of the Vega-Lite specification."""

    @property
    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification."""
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "title": {"text": self.title, "subtitle": self.subtitle, "anchor": "start"},
            "data": {"values": self.values},
            "width": 560,
            **self._encoding,
        }

    def plain(self) -> str:
        """Return the title, the subtitle and the values as text."""
        parts = (self.title, self.subtitle, self.drawing().plain())
        return "\n".join(filter(None, parts))

    def html(self) -> str:
        """Return the chart as static HTML."""
        return f"{block(f'<b>{escape(self.title)}</b>')}{self.body()}"

    def body(self) -> str:
        """Return the static HTML without the title."""
        subtitle = block(escape(self.subtitle), "quiet") if self.subtitle else ""
        return subtitle + self.drawing().html()

    def __repr__(self) -> str:
        return self.plain()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return html.bundle(self.plain(), self.html())


class BarChart(Chart):
    """One bar per row: its label, its non-negative number, and the number as text.

    `measure` names the number in `values`, and `noun` a row that is not shown. Rows whose labels
    are in `strong` are emphasized.
    """

    max_width = 480  # as `Bars`

    def __init__(
        self,
        title: str,
        rows: Sequence[tuple[str, float, str]],
        measure: str,
        noun: str,
        *,
        strong: Iterable[str] = (),
        subtitle: str = "",
    ) -> None:
        values = [{noun: label, measure: number, "text": text} for label, number, text in rows]
        super().__init__(title, values, subtitle)
        self._rows, self._measure, self._noun = rows, measure, noun
        self._strong = frozenset(strong)

    def drawing(self) -> Bars:
        """Return the bars; the longest fills the whole width."""
        numbers = [number for _, number, _ in self._rows if math.isfinite(number)]
        largest = max(numbers, default=0) or 1
        bars = [
            Bar(label, number / largest, text, strong=label in self._strong)
            for label, number, text in self._rows
        ]
        return Bars(bars, noun=self._noun)

    @property
    def _encoding(self) -> dict[str, Any]:
        return {
            "mark": "bar",
            "encoding": {
                "y": {"field": self._noun, "type": "nominal", "sort": None},
                "x": {"field": self._measure, "type": "quantitative"},
            },
        }


@dataclass(frozen=True)
class Charted(ViewPiece):
    """A chart without its title, which the header shows, beside the table of its numbers.

    The text form is only the table. If there is no room beside the chart, the table moves below.
    """

    chart: Chart
    table: ViewPiece

    def plain(self) -> str:
        """Return the table."""
        return self.table.plain()

    def html(self) -> str:
        """Return both; the chart takes the remaining width, up to its maximum."""
        left = f"flex:1 1 380px;max-width:{self.chart.max_width}px"
        right = "flex:0 1 auto;overflow-x:auto"
        return (
            '<div style="display:flex;flex-wrap:wrap;column-gap:32px">'
            f'<div style="min-width:0;{left}">{self.chart.body()}</div>'
            f'<div style="min-width:0;{right}">{self.table.html()}</div></div>'
        )


def colors_of(names: Iterable[str]) -> dict[str, str]:
    """Return the colour of each name: a search mode's own colour, the others in turn."""
    names = list(dict.fromkeys(names))
    others = [name for name in names if name not in MODE_COLORS]
    rest = {name: _OTHER_COLORS[i % len(_OTHER_COLORS)] for i, name in enumerate(others)}
    return {name: MODE_COLORS.get(name) or rest[name] for name in names}


def _plain(value: Any) -> Any:
    """Convert a NumPy number to a Python one; NaN and infinity, which JSON lacks, become None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
