"""critical_path: the spans that decide when a call ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span


def critical_path(root: Span) -> list[Span]:
    """Return the critical path of `root`, in the order of the starts, `root` first.

    From the end of a span backwards: the child that ended last, then of those that ended before
    its start the one that ended last, and so on, and the same below each of them. A shorter child
    that ran beside one of these is not on the path.
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
