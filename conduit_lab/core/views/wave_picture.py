"""WavePicture: sound as a waveform, drawn as an image that every front end keeps."""

from __future__ import annotations

import math
from base64 import b64encode
from dataclasses import dataclass
from html import escape

from conduit_lab.core.views import html
from conduit_lab.core.views.line_picture import LINE_COLOR, LineColumns
from conduit_lab.core.views.pieces import ViewPiece

WAVE_HEIGHT = 72  # pixels
_WIDTH = 600
_PLAIN_COLUMNS = 60
_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class WavePicture(ViewPiece):
    """One stroke per column from its minimum to its maximum, both from -1 to 1.

    `end` is the duration, shown at the right end of the axis.
    """

    columns: LineColumns
    end: str

    def plain(self) -> str:
        """Return the loudness as block characters, at most 60."""
        pairs = zip(self.columns.low, self.columns.high, strict=True)
        loud = [max(-low, high) for low, high in pairs if math.isfinite(low)]
        step = -(-len(loud) // _PLAIN_COLUMNS) or 1
        groups = (max(loud[at : at + step]) for at in range(0, len(loud), step))
        return "".join(_BLOCKS[max(0, min(7, int(8 * value)))] for value in groups)

    def html(self) -> str:
        """Return the image above its time axis."""
        style = f"width:100%;height:{WAVE_HEIGHT}px;display:block"
        quiet = "font-size:12px;line-height:16px;opacity:.7"
        return (
            f'<div style="{html.TEXT_STYLE};max-width:480px;margin:4px 0">'
            f'<img src="{wave_url(self.columns)}" alt="" style="{style}">'
            f'<div style="{quiet};display:flex;justify-content:space-between"><span>0 s</span>'
            f"<span>{escape(self.end)}</span></div></div>"
        )


def wave_url(columns: LineColumns) -> str:
    """Return the waveform as the data URL of an SVG image without text."""
    count = len(columns.low)
    half = WAVE_HEIGHT / 2
    strokes = "".join(
        f"M{_WIDTH * (at + 0.5) / count:.1f} {half - (half - 1) * high:.1f}"
        f"V{half - (half - 1) * low + 0.5:.1f}"
        for at, (low, high) in enumerate(zip(columns.low, columns.high, strict=True))
        if math.isfinite(low)
    )
    wide = max(1.0, 0.7 * _WIDTH / max(count, 1))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {WAVE_HEIGHT}" '
        f'preserveAspectRatio="none"><path d="{strokes}" stroke="{LINE_COLOR}" '
        f'stroke-width="{min(wide, 8):.1f}"/></svg>'
    )
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
