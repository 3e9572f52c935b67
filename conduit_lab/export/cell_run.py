"""CellRun: one run of a notebook's cell, as the export reads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CellRun:
    """One run of a cell: its Python source, without a magic around it.

    `number` is its execution count. `stopped_at` is the line that raised, or that runs now: the
    statements below it did not run. `key` names the cell in its notebook, the same for every run;
    empty where the front end has none. `opened` says that it is the `app.py` of an opened export.
    """

    number: int
    source: str
    stopped_at: int | None = None
    key: str = ""
    opened: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether all of its statements ran."""
        return self.stopped_at is None
