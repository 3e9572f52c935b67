"""Ensemble: several models on the same value, combined into one answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from conduit_lab.core.stage import Stage, as_stage


class Ensemble(Stage):
    """Several models on the same value; `combine` makes one answer of the list of theirs."""

    def __init__(
        self, members: Sequence[Any], combine: Callable[[list[Any]], Any], *, name: str = "ensemble"
    ) -> None:
        if not members:
            raise ValueError(f"ensemble {name!r} has no members: wanted at least one model")
        self.members = tuple(as_stage(member) for member in members)
        self.combine = as_stage(combine)
        self.name = name

    def run(self, value: Any) -> Any:
        """Ask every member, then combine."""
        return self.combine([member(value) for member in self.members])
