"""Tuning: the result of `tune`, with all settings that it tried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conduit_lab.core.paths import display
from conduit_lab.core.views import figures
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.runtime.measuring.timing import Timing, format_speedup
from conduit_lab.runtime.measuring.tuning import Tuned, write_tuning


@dataclass(frozen=True)
class Trial:
    """One setting compared with the best so far: seconds per call `before` and `after`, `speed`.

    `speed` is `before / after`. `kept` is whether it is among the final settings; `note` explains a
    setting that was not measured, or was faster only at first.
    """

    setting: str
    before: float | None = None
    after: float | None = None
    speed: float | None = None
    kept: bool = False
    note: str = ""


@dataclass(frozen=True)
class Tuning(Viewed):
    """The result of `tune`: the `best` settings, the `trials`, and a timing per batch size.

    `rows` is the number of samples per trial. `speed` is the speed-up of the best settings over
    onnxruntime's own choice on them, measured again at the end; 1 if that choice is the best.
    """

    name: str
    path: Path
    rows: int
    best: Tuned
    speed: float
    trials: tuple[Trial, ...]
    batches: tuple[Timing, ...]

    def save(self) -> Path:
        """Write the choice beside the model file, where `load_model` finds it; return its path."""
        return write_tuning(self.path, self.best)

    @property
    def _verdict(self) -> str:
        if self.path.suffix == ".npz":
            return f"best: {self.best}"
        faster = "no setting is clearly faster than"
        if self.speed != 1:
            faster = f"{format_speedup(self.speed)} times as fast as"
        samples = figures.plural(self.rows, "sample")
        return f"best: {self.best}; {faster} onnxruntime's own choice on {samples}"

    def _tables(self) -> list[Table]:
        trials = [
            (
                trial.setting,
                "" if trial.before is None else figures.seconds(trial.before),
                "" if trial.after is None else figures.seconds(trial.after),
                "" if trial.speed is None else f"{format_speedup(trial.speed)} ×",
                "kept" if trial.kept else trial.note,
            )
            for trial in self.trials
        ]
        batches = [
            (
                figures.count(timing.rows),
                figures.seconds(timing.p50),
                timing.samples,
                "kept" if timing.rows == self.best.batch_size else "",
            )
            for timing in self.batches
        ]
        return [
            Table(
                ("setting", "before", "after", "speed", ""), trials, ("before", "after", "speed")
            ),
            Table(("batch", "time", "samples/s", ""), batches, ("batch", "time", "samples/s")),
        ]

    def __repr__(self) -> str:
        tables = [table.plain() for table in self._tables() if table.rows]
        return "\n".join([display(self.path), *tables, self._verdict])

    def _view(self) -> View:
        return View("Tuning", display(self.path), [self._verdict], self._tables())
