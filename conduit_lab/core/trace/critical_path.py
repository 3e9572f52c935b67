"""critical_path: the spans that determine when a call ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span


def critical_path(root: Span) -> list[Span]:
    """Return the critical path of `root`, ordered by start, `root` first.

    Walks backwards from the end of a span: takes the child that ended last, then, of those that
    ended before its start, the one that ended last, and so on, recursively. A shorter child that
    ran in parallel with one of these is not on the path.
    """
    path: list[Span] = []
    pending = [root]
    while pending:
        span = pending.pop()
        path.append(span)
        until = _end(span)
        for child in sorted(span.children, key=_end, reverse=True):
            if _end(child) <= until:
                pending.append(child)
                until = child.start
    return sorted(path, key=lambda span: span.start)


def _end(span: Span) -> float:
    return span.start + span.duration if span.ended else math.inf
