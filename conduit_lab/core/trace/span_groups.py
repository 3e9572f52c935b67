"""Span groups: the rows of a trace; repeated siblings become one row where there are many spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span


@dataclass(frozen=True)
class SpanGroup:
    """Siblings of one name, or a single span, at a depth of the tree."""

    depth: int
    spans: Sequence[Span]

    @property
    def name(self) -> str:
        """The name of the spans, with their number where there are several."""
        name, number = self.spans[0].name, len(self.spans)
        return name if number == 1 else f"{name} × {number}"


def span_groups(root: Span, limit: int) -> list[SpanGroup]:
    """Return a group per span, or, of more than `limit` spans, one per name of siblings.

    Children of grouped spans count as siblings, so a loop of five stages is five rows.
    """
    alone = [SpanGroup(depth, [span]) for depth, span in root.walk()]
    return alone if len(alone) <= limit else list(_groups(root))


def _groups(root: Span) -> Iterator[SpanGroup]:
    pending = [SpanGroup(0, [root])]
    while pending:
        group = pending.pop()
        yield group
        by_name: dict[str, list[Span]] = {}
        for span in group.spans:
            for child in list(span.children):
                by_name.setdefault(child.name, []).append(child)
        pending += [SpanGroup(group.depth + 1, same) for same in reversed(by_name.values())]
