"""Parallel: several stages on the same value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conduit_lab.core.spec import ValueSpec
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.fit import named_outputs
from conduit_lab.flow.tasks import gather_stages


class Parallel(Combinator):
    """Several stages on the same value; gives a dict of their results by name."""

    arrangement = "parallel"

    def __init__(self, stages: Mapping[str, Any], *, name: str = "parallel") -> None:
        self.stages = {key: as_stage(stage) for key, stage in stages.items()}
        self.name = name
        self.check()

    @property
    def gives(self) -> ValueSpec:
        """The dict of the values that its stages give."""
        return named_outputs(self.stages)

    @property
    def children(self) -> tuple[Stage, ...]:
        """The stages, in the order of their names."""
        return tuple(self.stages.values())

    def run(self, value: Any) -> dict[str, Any]:
        """Return each stage's result under its name."""
        return {key: stage(value) for key, stage in self.stages.items()}

    async def arun(self, value: Any) -> dict[str, Any]:
        """Await all stages at once; the first failure cancels the others."""
        results = await gather_stages(self.children, value)
        return dict(zip(self.stages, results, strict=True))
