"""Comparison: several models side by side, in size, speed and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from conduit_lab.core.frames import to_frame
from conduit_lab.core.paths import display
from conduit_lab.core.views import charts, figures, html
from conduit_lab.models.measure.difference import Difference
from conduit_lab.runtime.measuring.timing import NOISE_RATIO, Timing, format_speedup


@dataclass(frozen=True)
class Compared:
    """One model of a `Comparison`: its figures, and its `speed` and `difference` against the first.

    `label` is the model's name, with what tells it from others of that name. `size` is in bytes,
    None for what has no file; `difference` is None for the first and for answers that cannot be
    compared with its.
    """

    label: str
    path: Path | None
    size: int | None
    device: str
    timing: Timing
    speed: float
    difference: Difference | None


class Comparison(Sequence[Compared]):
    """Several models on one sample: what they weigh, how long they take, how far their answers are from the first's."""

    def __init__(self, rows: Sequence[Compared]) -> None:
        self._compared = tuple(rows)

    def __getitem__(self, index: Any) -> Any:
        return self._compared[index]

    def __len__(self) -> int:
        return len(self._compared)

    @property
    def title(self) -> str:
        """What the comparison says, in a sentence."""
        first, others = self[0], self[1:]
        if not others:
            return f"{first.label} takes {figures.seconds(first.timing.p50)}"
        best = max(others, key=lambda row: row.speed)
        if best.speed > NOISE_RATIO:
            return f"{best.label} is {format_speedup(best.speed)} times as fast as {first.label}"
        if 1 / best.speed > NOISE_RATIO:
            return (
                f"{first.label} is {format_speedup(1 / best.speed)} times as fast as {best.label}"
            )
        return f"{best.label} is as fast as {first.label}"

    @cached_property
    def chart(self) -> charts.Chart:
        """The plot: a bar for each model's median time, that of the first one quiet."""
        values = [
            {
                "model": row.label,
                "seconds": row.timing.p50,
                "figures": " · ".join(
                    filter(None, (figures.seconds(row.timing.p50), self._against(row)[0]))
                ),
                "first": row is self[0],
            }
            for row in self
        ]
        rows = self[0].timing.rows
        subtitle = f"median time of a call with {figures.count(rows)} sample{'s' * (rows != 1)}"
        return charts.Chart(self.title, values, _BARS, subtitle=subtitle)

    def to_pandas(self) -> Any:
        """Return a DataFrame, one row a model; times in seconds, sizes in bytes. Needs the `[lab]` extra."""
        rows = []
        for row in self:
            path, t, d = display(row.path) if row.path else None, row.timing, row.difference
            apart = (
                (d.largest, d.relative, d.same_label, d.cosine[0] if d.cosine else None)
                if d
                else (None,) * 4
            )
            rows.append(
                (
                    row.label,
                    path,
                    row.size,
                    row.device,
                    t.p50,
                    t.p90,
                    t.p99,
                    t.rate,
                    row.speed,
                    *apart,
                )
            )
        return to_frame(rows, _FRAME)

    def _against(self, row: Compared) -> tuple[str, str]:
        """Return speed and difference against the first, in words."""
        return (
            ("", "")
            if row is self[0]
            else (f"{format_speedup(row.speed)} ×", _words(row.difference))
        )

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                row.label,
                display(row.path) if row.path else "",
                "" if row.size is None else figures.size(row.size),
                row.device,
                figures.seconds(row.timing.p50),
                figures.seconds(row.timing.p99),
                row.timing.samples,
                *self._against(row),
            )
            for row in self
        ]

    def __repr__(self) -> str:
        return f"{self.title}\n{html.columns(_COLUMNS, self._rows(), _NUMERIC)}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        shown = html.header("Comparison", self.title) + html.table(_COLUMNS, self._rows(), _NUMERIC)
        return {**html.bundle(repr(self), shown), charts.MIME: self.chart.spec}


_COLUMNS = ("model", "file", "size", "device", "p50", "p99", "samples/s", "speed", "difference")
_NUMERIC = ("size", "p50", "p99", "samples/s", "speed")
_TIMES = ("p50", "p90", "p99", "samples_per_second", "speed")
_APART = ("largest_difference", "relative_difference", "same_label", "least_cosine")
_FRAME = ("model", "file", "size", "device", *_TIMES, *_APART)
# Each bar lies under its model's name and figures: so it needs no axis, and fits a narrow page.
_BARS: dict[str, Any] = {
    "height": {"step": 40},
    "encoding": {"y": {"field": "model", "type": "nominal", "axis": None, "sort": None}},
    "layer": [
        {
            "mark": {"type": "bar", "height": 6, "yOffset": 12},
            "encoding": {
                "x": {
                    "field": "seconds",
                    "type": "quantitative",
                    "axis": None,
                    "scale": {"nice": False},
                },
                "color": {
                    "condition": {"test": "datum.first", "value": charts.FAINT},
                    "value": charts.ACCENT,
                },
            },
        },
        {
            "mark": {
                "type": "text",
                "align": "left",
                "x": 0,
                "limit": {"expr": f"{charts.WINDOW} - 140"},
            },
            "encoding": {"text": {"field": "model"}},
        },
        {
            "mark": {"type": "text", "align": "right", "x": "width"},
            "encoding": {"text": {"field": "figures"}, "color": {"value": charts.QUIET}},
        },
    ],
}


def _words(difference: Difference | None) -> str:
    if difference is None:
        return "other outputs"
    if difference.cosine is not None:
        return f"cosine {difference.cosine[0]:.4f}"
    if difference.largest == 0 and difference.relative > 0:  # whole numbers or text
        return f"{difference.relative:.0%} differ"
    largest = f"differs by {difference.largest:.2g}" if difference.largest else "equal"
    if difference.same_label is None or difference.same_label == 1:
        return largest
    return f"{largest}, same label {difference.same_label:.0%}"
