"""Examples: the recorded calls of a lab, by the path of their endpoint."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.errors import UnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.views import figures, html
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.serving.codec import preview
from conduit_lab.serving.recorded import Example

_COLUMNS = ("call", "request", "answer", "writes")
_MAX_CELL_CHARACTERS = 80


class Examples(Viewed, list[Example]):
    """The recorded calls of a lab, newest last.

    `examples["/ask"]` returns those of one endpoint; a path without any raises `UnknownName` with
    the nearest one.
    """

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        found = Examples(each for each in self if each.path == key)
        if found:
            return found
        paths = self._ipython_key_completions_()
        known = ", ".join(paths) or "none yet"
        raise UnknownName(f"no call of {key!r}; there are {known}{did_you_mean(key, paths)}")

    def _ipython_key_completions_(self) -> list[str]:
        return list(dict.fromkeys(example.path for example in self))

    def _table(self) -> Table:
        newest = self[: -html.MAX_ROWS - 1 : -1]
        rows = [
            (
                f"{each.method} {each.path}",
                preview(each.payload, _MAX_CELL_CHARACTERS),
                each.answer_line(_MAX_CELL_CHARACTERS),
                "writes" if each.writes else "",
            )
            for each in newest
        ]
        columns = _COLUMNS if any(each.writes for each in newest) else _COLUMNS[:-1]
        return Table(
            columns,
            [row[: len(columns)] for row in rows],
            total=len(self),
        )

    def _view(self) -> View:
        paths = figures.plural(len(self._ipython_key_completions_()), "endpoint")
        return View(
            "Examples",
            "",
            [str(len(self)), f"recorded calls of {paths}, the newest first"] if self else ["0"],
            [self._table()],
        )
