"""ClockStrips: when events of several sources occurred, one strip each, on a common time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from conduit_lab.core.views import html
from conduit_lab.core.views.pieces import ViewPiece
from conduit_lab.core.views.view import View

_QUIET = "font-size:12px;line-height:16px;opacity:.7;white-space:nowrap"
_NAME = "flex:0 0 160px;max-width:160px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
_TICKS = " ·▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class ClockStrips(ViewPiece):
    """Named strips of equal periods between `start` and `end`, the labels of the axis.

    A period's value is the opacity of its tint, from 0 to 1; -1 means outside of the source's
    lifetime.
    """

    strips: Sequence[tuple[str, Sequence[float]]]
    start: str
    end: str

    def plain(self) -> str:
        """Return a line of block characters per strip."""
        lines = ["".join(map(_tick, periods)) for _, periods in self.strips]
        names = [name for name, _ in self.strips]
        rows = list(zip(names, lines, strict=True))
        return html.columns(("", f"{self.start} to {self.end}"), rows)

    def html(self) -> str:
        """Return the strips stacked above their axis."""
        rows = "".join(
            f'<div style="display:flex;column-gap:8px;align-items:center;margin:2px 0">'
            f'<div style="{_NAME}">{escape(name)}</div>'
            f'<div style="flex:1 1 0;height:12px;{strip_ground(periods)}"></div></div>'
            for name, periods in self.strips
        )
        axis = (
            f'<div style="{_QUIET};display:flex;justify-content:space-between;'
            f'padding-left:168px"><span>{escape(self.start)}</span>'
            f"<span>{escape(self.end)}</span></div>"
        )
        return f'<div style="{html.TEXT_STYLE};max-width:960px;margin:4px 0">{rows}{axis}</div>'


@dataclass(frozen=True)
class ViewColumns(ViewPiece):
    """Views side by side if there is room, or else stacked."""

    views: Sequence[View]

    def plain(self) -> str:
        """Return the views one after another."""
        return "\n".join(view.plain() for view in self.views)

    def html(self) -> str:
        """Return columns of at least 300 pixels."""
        columns = "".join(
            f'<div style="flex:1 1 300px;min-width:0;max-width:720px">{view.html()}</div>'
            for view in self.views
        )
        return (
            '<div style="display:flex;flex-wrap:wrap;column-gap:32px;row-gap:12px;margin-top:8px">'
            f"{columns}</div>"
        )


def strip_ground(periods: Sequence[float]) -> str:
    """Return the style of a strip as one gradient; equal neighbours share a stop."""
    stops, at = [], 0
    for tint, group in groupby(periods, _tint):
        end = at + len(list(group))
        stops.append(f"{tint} {_percent(at, periods)} {_percent(end, periods)}")
        at = end
    return f"background:linear-gradient(to right,{','.join(stops)})" if stops else ""


def _percent(place: int, periods: Sequence[float]) -> str:
    return f"{100 * place / len(periods):.2f}%"


def _tint(share: float) -> str:
    if share < 0:
        return "rgba(128,128,128,0)"
    return f"rgba(27,134,200,{share:.2f})" if share else "rgba(128,128,128,.2)"


def _tick(share: float) -> str:
    if share <= 0:
        return " " if share < 0 else "·"
    return _TICKS[2 + min(7, int(8 * share))]
