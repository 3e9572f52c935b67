"""CellRun: one execution of a notebook cell, as the export reads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CellRun:
    """One execution of a cell: its Python source, without a surrounding cell magic.

    `number` is its execution count. `stopped_at` is the line that raised or is still running; the
    statements below it did not run. `key` identifies the cell in its notebook across runs, and is
    empty if the front end has no cell IDs. `opened` marks the `app.py` of an opened export.
    """

    number: int
    source: str
    stopped_at: int | None = None
    key: str = ""
    opened: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether all statements ran."""
        return self.stopped_at is None
