"""View: a value as text and as static HTML."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from conduit_lab.core.views import figures, html
from conduit_lab.core.views.boxes import drawing
from conduit_lab.core.views.pieces import ViewPiece
from conduit_lab.core.views.tree import TreeNode


@dataclass(frozen=True)
class Table(ViewPiece):
    """Rows under named columns; at most `html.MAX_ROWS` are shown, and the others are counted.

    `numeric` columns are right-aligned, `wide` ones get room for running text. `total` is the
    number of rows if `rows` holds only the first ones, and `whole` the expression for the others.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numeric: Collection[str] = ()
    wide: Collection[str] = ()
    total: int | None = None
    whole: str = ""

    @property
    def _more(self) -> int:
        return (len(self.rows) if self.total is None else self.total) - html.MAX_ROWS

    def plain(self) -> str:
        """Return the table as aligned text."""
        shown = html.columns(self.columns, self.rows[: html.MAX_ROWS], self.numeric)
        code = f": {self.whole}" if self.whole else ""
        more = f"{figures.plural(self._more, 'more row')}{code}"
        return f"{shown}\n{more}" if self._more > 0 else shown

    def html(self) -> str:
        """Return the table as static HTML."""
        shown = html.table(self.columns, self.rows[: html.MAX_ROWS], self.numeric, self.wide)
        return shown + html.more(self._more + html.MAX_ROWS, self.whole)


@dataclass(frozen=True)
class View:
    """The displayed form of a value: its kind and name, key facts, and the parts below.

    The parts are shown in this order: `pieces`, `tables`, `tree` (in HTML below a drawing of it),
    `text` (running text, limited in height), `image` (a data URL), `children`. `whole` is the
    expression that returns all of a long `text`. `one_line` truncates the header like that of the
    live view which precedes it.
    """

    kind: str
    name: str = ""
    facts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    text: str = ""
    image: str | None = None
    children: Sequence[View] = field(default=())
    tree: TreeNode | None = None
    pieces: Sequence[ViewPiece] = field(default=())
    whole: str = ""
    one_line: bool = False

    def plain(self) -> str:
        """Return the view as text: its header line, then each part."""
        head = " · ".join([f"{self.kind} {self.name!r}" if self.name else self.kind, *self.facts])
        parts = [head, *filter(None, (piece.plain() for piece in self.pieces))]
        parts += [table.plain() for table in self.tables if table.rows]
        parts += [self.tree.plain()] if self.tree and not self.tree.leaf else []
        parts += [self.text] if self.text else []
        return "\n".join([*parts, *(child.plain() for child in self.children)])

    def html(self) -> str:
        """Return the view as static HTML; everything in it is escaped."""
        head = html.header(self.kind, self.name, self.facts)
        parts = [html.unwrapped(head) if self.one_line else head]
        parts += [piece.html() for piece in self.pieces]
        parts += [table.html() for table in self.tables if table.rows]
        if self.tree and not self.tree.leaf:
            parts += [drawing(self.tree), self.tree.html()]
        parts += [html.text(self.text, whole=self.whole)] if self.text else []
        parts += [html.picture(self.image)] if self.image is not None else []
        return "".join([*parts, *(child.html() for child in self.children)])

    def bundle(self, plain: str) -> dict[str, str]:
        """Return the MIME bundle: `plain` as text, and the static HTML."""
        return html.bundle(plain, self.html())
