"""Route: one of several stages, chosen by the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from conduit_lab.core.stage import Stage, as_stage


class Route(Stage):
    """One of several stages, chosen by `choose(value)`, which returns its name."""

    def __init__(
        self, choose: Callable[[Any], str], stages: Mapping[str, Any], *, name: str = "route"
    ) -> None:
        self.choose = choose
        self.stages = {key: as_stage(stage) for key, stage in stages.items()}
        self.name = name

    def run(self, value: Any) -> Any:
        """Run the chosen stage; `KeyError` naming the choices for a name that is not there."""
        key = self.choose(value)
        if key not in self.stages:
            raise KeyError(f"route {self.name!r} has no {key!r}: it has {', '.join(self.stages)}")
        return self.stages[key](value)
