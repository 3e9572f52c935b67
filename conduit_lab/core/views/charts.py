"""Charts: Vega-Lite plots with one look, made without a plotting library.

JupyterLab, VS Code and nteract draw them. Text and lines take the colour of the host's text, so
that a chart reads the same on light and on dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

MIME = "application/vnd.vegalite.v5+json"  # JupyterLab 4 draws 3 to 5, and not 6
TEXT = "currentColor"
QUIET = "color-mix(in srgb, currentColor 70%, transparent)"
FAINT = "color-mix(in srgb, currentColor 30%, transparent)"
# Okabe and Ito 2008, "Color Universal Design": eight that every kind of colour vision tells apart;
# black is the text's
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", TEXT)
ACCENT = OKABE_ITO[0]

WIDTH = 560  # pixels, where the width below is not understood
# Not "container": JupyterLab puts a chart into a box that is as wide as its content, 0 at first,
# takes an empty picture of it, and then draws again and again until the page hangs (4.6). The
# window is the nearest thing that has a width.
WINDOW = "clamp(0.6 * windowSize()[0], 300, 720)"
_FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "padding": {"left": 0, "top": 4, "right": 4, "bottom": 4},
    "view": {"stroke": None},
    "title": {
        "anchor": "start",
        "frame": "group",
        "color": TEXT,
        "fontSize": 13,
        "fontWeight": 600,
        "subtitleColor": QUIET,
        "subtitleFontSize": 12,
        "subtitlePadding": 4,
        "offset": 12,
    },
    "axis": {
        "domain": False,
        "ticks": False,
        "grid": False,
        "gridColor": FAINT,
        "gridWidth": 0.5,
        "labelColor": QUIET,
        "labelFontSize": 12,
        "labelPadding": 8,
        "titleColor": QUIET,
        "titleFontSize": 12,
        "titleFontWeight": 400,
        "tickCount": 5,
    },
    "axisYQuantitative": {"grid": True},
    "legend": {
        "labelColor": QUIET,
        "labelFontSize": 12,
        "titleColor": QUIET,
        "titleFontWeight": 400,
        "orient": "top",
    },
    "range": {"category": list(OKABE_ITO), "ramp": "viridis", "heatmap": "viridis"},
    "mark": {"color": ACCENT},
    "text": {"color": TEXT, "fontSize": 12},
    "line": {"strokeWidth": 2},
    "point": {"size": 32, "filled": True},
}


class Chart:
    """A plot that supports one sentence, its `title`.

    `values` are its rows; `view` says how they are drawn: `mark` and `encoding`, or `layer`, of
    Vega-Lite 5. `spec` is the whole, as a dict. Numbers that JSON does not know (NaN, infinity)
    become null.
    """

    def __init__(
        self,
        title: str,
        values: Iterable[Mapping[str, Any]],
        view: Mapping[str, Any],
        *,
        subtitle: str = "",
    ) -> None:
        self.title = title
        self.subtitle = subtitle
        self.values = [{key: _plain(value) for key, value in row.items()} for row in values]
        self._view = dict(view)

    @property
    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification."""
        patch = {"op": "add", "path": "/width", "value": {"signal": WINDOW}}
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            # a title that is wider than the chart would leave no room for the rest
            "title": {"text": self.title, "subtitle": self.subtitle, "limit": {"expr": WINDOW}},
            "data": {"values": self.values},
            "width": WIDTH,
            "autosize": {"type": "fit-x", "contains": "padding"},
            **self._view,
            "config": CONFIG,
            # SVG, since a canvas knows no colour of its surroundings
            "usermeta": {"embedOptions": {"renderer": "svg", "actions": False, "patch": [patch]}},
        }

    def __repr__(self) -> str:
        return f"Chart: {self.title}" + (f" ({self.subtitle})" if self.subtitle else "")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            "text/plain": repr(self),
            MIME: self.spec,
        }  # no text/html: JupyterLab would show that instead


def _plain(value: Any) -> Any:
    """Return a NumPy number as Python's own, and what JSON does not know as None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
