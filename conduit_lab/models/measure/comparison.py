"""Comparison: several models side by side, in size, speed and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from conduit_lab.core.frames import to_frame
from conduit_lab.core.paths import display
from conduit_lab.core.views import figures
from conduit_lab.core.views.charts import BarChart, Charted
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.models.measure.difference import Difference
from conduit_lab.runtime.measuring.timing import NOISE_RATIO, Timing, format_speedup


@dataclass(frozen=True)
class Compared:
    """One model of a `Comparison`: its figures, and its `speed` and `difference` against the first.

    `label` is the model's name, made unique by its device, file or number. `size` is in bytes, or
    None without a file; `difference` is None for the first model and for answers of another kind.
    `speed` is the ratio of the two medians, and `clear` is whether it exceeds 5 % both over all
    calls and round by round.
    """

    label: str
    path: Path | None
    size: int | None
    device: str
    timing: Timing
    speed: float
    clear: bool
    difference: Difference | None


class Comparison(Sequence[Compared], Viewed):
    """Several models on one sample: their sizes, times, and differences from the first."""

    def __init__(self, rows: Sequence[Compared]) -> None:
        self._compared = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> Compared: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Compared, ...]: ...
    def __getitem__(self, index: int | slice) -> Compared | tuple[Compared, ...]:
        return self._compared[index]

    def __len__(self) -> int:
        return len(self._compared)

    @property
    def title(self) -> str:
        """The result as a sentence."""
        first, others = self[0], self[1:]
        if not others:
            return f"{first.label} takes {figures.seconds(first.timing.p50)}"
        best = self._best_other
        if not best.clear:
            beyond = max(best.speed, 1 / best.speed) > NOISE_RATIO
            relation = "not clearly faster or slower than" if beyond else "as fast as"
            return f"{best.label} is {relation} {first.label}"
        if best.speed > 1:
            return f"{best.label} is {format_speedup(best.speed)} times as fast as {first.label}"
        return f"{first.label} is {format_speedup(1 / best.speed)} times as fast as {best.label}"

    @property
    def _best_other(self) -> Compared:
        """The fastest model other than the first, preferably a clearly faster one."""
        faster = [row for row in self[1:] if row.clear and row.speed > 1]
        return max(faster or self[1:], key=lambda row: row.speed)

    @cached_property
    def chart(self) -> BarChart:
        """One bar per model with its median time; the faster model of the title is highlighted."""
        rows = [(row.label, row.timing.p50, self._bar_text(row)) for row in self]
        samples = figures.plural(self[0].timing.rows, "sample")
        subtitle = f"median time of a call with {samples}"
        strong = []
        if len(self) > 1 and self._best_other.clear:
            strong = [max(self[0], self._best_other, key=lambda row: row.speed).label]
        return BarChart(self.title, rows, "seconds", "model", strong=strong, subtitle=subtitle)

    def to_pandas(self) -> Any:
        """Return a DataFrame, one row per model; times in seconds, sizes in bytes.

        Needs the `[lab]` extra.
        """
        rows = []
        for row in self:
            path, t, d = display(row.path) if row.path else None, row.timing, row.difference
            cosine = d.cosine[0] if d and d.cosine else None
            apart = (d.largest, d.relative, d.same_label, cosine) if d else (None,) * 4
            model = (row.label, path, row.size, row.device)
            rows.append((*model, t.p50, t.p90, t.p99, t.rate, row.speed, *apart))
        return to_frame(rows, _FRAME, purpose="Comparison.to_pandas()")

    def _against(self, row: Compared) -> tuple[str, str]:
        """Return speed and difference from the first model as text."""
        if row is self[0]:
            return "", ""
        return f"{format_speedup(row.speed)} ×", _words(row.difference)

    def _bar_text(self, row: Compared) -> str:
        return " · ".join(filter(None, (figures.seconds(row.timing.p50), self._against(row)[0])))

    def _table(self) -> Table:
        rows = [
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
        return Table(_COLUMNS, rows, numeric=_NUMERIC)

    def _view(self) -> View:
        return View("Comparison", self.title, pieces=[Charted(self.chart, self._table())])

    def __repr__(self) -> str:
        return f"{self.title}\n{self._table().plain()}"


_COLUMNS = ("model", "file", "size", "device", "p50", "p99", "samples/s", "speed", "difference")
_NUMERIC = ("size", "p50", "p99", "samples/s", "speed")
_TIMES = ("p50", "p90", "p99", "samples_per_second", "speed")
_APART = ("largest_difference", "relative_difference", "same_label", "least_cosine")
_FRAME = ("model", "file", "size", "device", *_TIMES, *_APART)


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
