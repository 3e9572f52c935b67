"""Export: the result of an export; its view shows the proof call by call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conduit_lab.core.paths import display
from conduit_lab.core.trace.stage_statistics import time_cell
from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import Folded, Line, ViewPiece
from conduit_lab.core.views.sections import Code
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.export.export_plan import ExportPlan
from conduit_lab.export.quantized import QuantizedModel
from conduit_lab.export.replay import Outcome
from conduit_lab.serving.codec import preview

_COLUMNS = ("time", "request", "answer here")
_MAX_CELL_CHARACTERS = 60


class Export(Viewed):
    """A finished export: its `folder`, the `outcomes` of the replay, and `warnings`.

    `objects` counts the objects that the endpoints reach, which were equal here and in the started
    export; `plan` has the form and size of each. `quantized` lists the models of `optimize="int8"`,
    each converted to int8 or left in float32 for a reason.
    """

    prover = "a fresh process"

    def __init__(
        self,
        folder: Path,
        outcomes: Sequence[Outcome],
        warnings: Sequence[str],
        objects: int = 0,
        plan: ExportPlan | None = None,
        quantized: Sequence[QuantizedModel] = (),
    ) -> None:
        self.folder = folder
        self.outcomes = tuple(outcomes)
        self.warnings = tuple(warnings)
        self.objects = objects
        self.plan = plan
        self.quantized = tuple(quantized)

    @property
    def proof(self) -> str:
        """The result of the proof as one sentence."""
        calls = len(self.outcomes)
        if not calls:
            return "Not proved: no recorded call was replayed."
        verdicts = [outcome.verdict for outcome in self.outcomes]
        kinds = ("same", "same shape", "close, in int8", "answered")
        same, alike, close, answered = map(verdicts.count, kinds)
        prover = self.prover[0].upper() + self.prover[1:]
        ran = f"{prover} gives the same answer to {same} of {figures.plural(calls, 'call')}"
        ran += f", one of the same shape to {alike}" if alike else ""
        ran += f", a close one in int8 to {close}" if close else ""
        write = "writes" if answered == 1 else "write"
        ran += f", and answers {answered} that {write}" if answered else ""
        if not self.objects:
            return f"{ran}."
        reached = figures.plural(self.objects, "object")
        return f"{ran}. The {reached} that the endpoints reach are equal there."

    def _view(self) -> View:
        place = display(self.folder)
        paths = {outcome.endpoint for outcome in self.outcomes}
        slowest = max((outcome.seconds for outcome in self.outcomes), default=0.0)
        rows = [
            (
                outcome.endpoint,
                f"{'✓' if outcome.problem is None else '✕'} {outcome.verdict}",
                time_cell(outcome.seconds, slowest),
                preview(outcome.example.payload, _MAX_CELL_CHARACTERS),
                outcome.example.answer_line(_MAX_CELL_CHARACTERS),
            )
            for outcome in self.outcomes
        ]
        columns = ("call", f"in {self.prover}", *_COLUMNS)
        table = Table(columns, rows, numeric=("time",), whole="export.outcomes")
        pieces: list[ViewPiece] = [Line(self.proof, "large"), *([table] if rows else [])]
        pieces += [Line(str(model)) for model in self.quantized]
        pieces += [Line(f"△ {warning}") for warning in self.warnings]
        if self.plan is not None:
            pieces.append(
                Folded(self.plan.summary.replace("to export", "exported"), [self.plan.table])
            )
        pieces.append(self._next_step(place))
        facts = [figures.plural(len(paths), "endpoint")] if paths else []
        return View("Export", place, facts, pieces=pieces)

    def _next_step(self, place: str) -> ViewPiece:
        return Code([f"conduit-lab serve {place}"], "to serve it, on any machine:")
