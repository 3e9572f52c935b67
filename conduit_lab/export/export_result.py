"""Export: the result of an export, and its view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conduit_lab.core.paths import display
from conduit_lab.core.views import figures
from conduit_lab.core.views.view import Table, View, Viewed
from conduit_lab.export.replay import Outcome

_COLUMNS = ("endpoint", "replay", "time")


class Export(Viewed):
    """A finished export: its `folder`, the `outcomes` of the replay, and `warnings`."""

    def __init__(self, folder: Path, outcomes: Sequence[Outcome], warnings: Sequence[str]) -> None:
        self.folder = folder
        self.outcomes = tuple(outcomes)
        self.warnings = tuple(warnings)

    def _view(self) -> View:
        calls = figures.plural(len(self.outcomes), "call")
        fact = f"{calls} replayed in a fresh process" if self.outcomes else "not replayed"
        rows = [(o.endpoint, o.verdict, figures.seconds(o.seconds)) for o in self.outcomes]
        return View(
            "Export",
            display(self.folder),
            [fact],
            [Table(_COLUMNS, rows, numeric=("time",), whole="export.outcomes")],
            text="\n".join(self.warnings),
        )
