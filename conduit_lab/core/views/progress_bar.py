"""Progress bar: a thin bar below a line about a running job."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from conduit_lab.core.views import html
from conduit_lab.core.views.pieces import TEXT_WIDTH, ViewPiece

_FILL, _GROUND = "rgb(0,114,178)", "rgba(128,128,128,.2)"  # the first of charts.OKABE_ITO


@dataclass(frozen=True)
class ProgressBar(ViewPiece):
    """The name of a job, its amounts, and a bar filled by `share`, None if unknown."""

    name: str
    amounts: str
    share: float | None = None

    def plain(self) -> str:
        """Return only the line."""
        return f"{self.name} · {self.amounts}"

    def html(self) -> str:
        """Return the line and the bar, at most as wide as running text."""
        end = f"{100 * min(1.0, self.share or 0.0):.1f}%"
        return (
            f'<div style="{html.TEXT_STYLE};{TEXT_WIDTH};overflow-wrap:break-word">'
            f'{escape(self.name)} <span style="opacity:.7">· {escape(self.amounts)}</span>'
            f'<div style="height:4px;margin:2px 0 6px 0;background:linear-gradient(to right,'
            f'{_FILL} {end},{_GROUND} {end})"></div></div>'
        )
