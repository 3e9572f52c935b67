"""Tree: nested nodes, as text with branches and as static HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from conduit_lab.core.views import figures, html

# how children are drawn: one after the other, all at once, one of them, the first that works
Arrangement = Literal["chain", "parallel", "choice", "fallback"]

_UNBROKEN = re.compile("(?<!→) (?!→)")  # keep a shape on one line
_COLUMNS = ("stage", "kind", "values", "time")


@dataclass(frozen=True)
class TreeNode:
    """One node: its name, its kind and the known facts about it.

    `takes` and `gives` describe its input and output, empty if unknown; `facts` are its settings;
    `seconds` is its last duration. `edge` is its name within its parent. `more` counts omitted
    children. A node that `joins` takes the results of its siblings.
    """

    name: str
    kind: str = ""
    takes: str = ""
    gives: str = ""
    facts: Sequence[str] = ()
    seconds: float | None = None
    edge: str = ""
    children: Sequence[TreeNode] = field(default=())
    more: int = 0
    arrangement: Arrangement = "chain"
    joins: bool = False

    @property
    def leaf(self) -> bool:
        """Whether it has no children."""
        return not self.children and not self.more

    @property
    def values(self) -> str:
        """Its input and output as one text; empty if neither is known."""
        return f"{self.takes or '?'} → {self.gives or '?'}" if self.takes or self.gives else ""

    @property
    def time(self) -> str:
        """Its last duration; empty if none was recorded."""
        return "" if self.seconds is None else figures.seconds(self.seconds)

    @property
    def prefix(self) -> str:
        """Its name within its parent; empty if redundant."""
        return f"{self.edge}: " if self.edge not in ("", self.name) else ""

    def share(self, whole: float | None) -> float:
        """Return its fraction of another duration, at most 1; 0 if either is unknown."""
        return min(1.0, self.seconds / whole) if self.seconds and whole else 0.0

    def plain(self) -> str:
        """Return its descendants as lines with branches and aligned columns."""
        rows = list(_branches(self))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for *cells, time in rows:
            padded = [cell.ljust(w) for cell, w in zip(cells, widths, strict=False) if w]
            lines.append("   ".join([*padded, time.rjust(widths[-1])]).rstrip())
        return "\n".join(lines)

    def html(self) -> str:
        """Return its descendants as a table; bars show their fraction of its duration."""
        rows = list(_rows(self, 0, self.seconds))
        filled = [any(map(str, column)) for column in zip(*rows, strict=True)]
        kept = [place for place, keep in enumerate(filled) if keep]
        return html.table(
            [_COLUMNS[place] for place in kept],
            [[row[place] for place in kept] for row in rows],
            numeric=("time",),
            limit=len(rows),
        )


def _branches(node: TreeNode, before: str = "") -> Iterator[tuple[str, ...]]:
    """Yield the cells of each line below a node."""
    last = len(node.children) - (0 if node.more else 1)
    for place, child in enumerate(node.children):
        branch, below = ("└─ ", "   ") if place == last else ("├─ ", "│  ")
        name = f"{before}{branch}{child.prefix}{child.name}"
        yield name, " · ".join([child.kind, *child.facts]), child.values, child.time
        yield from _branches(child, before + below)
    if node.more:
        yield f"{before}└─ … {figures.plural(node.more, 'more stage')}", "", "", ""


def _rows(node: TreeNode, depth: int, whole: float | None) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of each row below a node."""
    for child in node.children:
        name = html.Cell(child.name, depth, prefix=child.prefix)
        kind = html.Cell(child.kind, suffix="".join(f" · {fact}" for fact in child.facts))
        values = _UNBROKEN.sub("\N{NO-BREAK SPACE}", child.values)
        yield name, kind, values, html.Cell(child.time, share=child.share(whole))
        yield from _rows(child, depth + 1, whole)
    if node.more:
        more = html.Cell("", depth, prefix=f"… {figures.plural(node.more, 'more stage')}")
        yield more, "", "", ""
