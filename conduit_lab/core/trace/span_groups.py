"""Span groups: the rows of a trace; in a large trace, repeated siblings share a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span


@dataclass(frozen=True)
class SpanGroup:
    """Siblings with the same name, or a single span, at one depth of the tree."""

    depth: int
    spans: Sequence[Span]

    @property
    def name(self) -> str:
        """The name of the spans, with their count if there are several."""
        name, number = self.spans[0].name, len(self.spans)
        return name if number == 1 else f"{name} × {number}"


def span_groups(root: Span, limit: int) -> list[SpanGroup]:
    """Return one group per span, or, for more than `limit` spans, one per sibling name.

    Children of grouped spans count as siblings, so a loop of five stages becomes five rows.
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
