"""Refusals: errors for calls that a batcher rejects."""

from __future__ import annotations

from conduit_lab.core.errors import DeadlineExceeded, Overloaded
from conduit_lab.core.views import figures


def overloaded(name: str, waiting: int, limit: int, rows: int) -> Overloaded:
    """Return the error for `rows` rows that the queue of the model `name` has no room for."""
    return Overloaded(
        f"{name!r} has {figures.plural(waiting, 'row')} waiting and accepts at most {limit}: "
        f"{rows} more were rejected; try again later"
    )


def late(name: str) -> DeadlineExceeded:
    """Return the error for a call of the model `name` that waited past its deadline."""
    return DeadlineExceeded(
        f"{name!r} had no answer by the deadline: "
        "pass a longer timeout, or make fewer calls at once"
    )
