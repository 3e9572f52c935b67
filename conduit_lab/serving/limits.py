"""Limits: the bounds that a served app puts on its requests."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from conduit_lab.core.errors import EndpointError

MAX_BODY_BYTES = 16 * 2**20


@dataclass(frozen=True, repr=False)
class Limits:
    """The bounds of a served app's requests; the defaults suit an app on the open internet.

    `body_bytes` is the largest request body. An answer that has not started within `deadline`
    seconds becomes a 504; None sets no limit.
    """

    body_bytes: int = MAX_BODY_BYTES
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.deadline is not None and not 0 < self.deadline < math.inf:
            raise EndpointError(
                f"Limits(deadline=) expected seconds above 0, or None, got {self.deadline!r}"
            )

    def __repr__(self) -> str:
        given = [(each, getattr(self, each.name)) for each in fields(self)]
        shown = [f"{each.name}={value!r}" for each, value in given if value != each.default]
        return f"Limits({', '.join(shown)})"
